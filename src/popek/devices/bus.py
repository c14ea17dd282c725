"""The bus to device models written in ordinary Python, and guest memory as they see it. No device here."""

from __future__ import annotations

import bisect
import ctypes
import sys
from collections.abc import Callable
from typing import Protocol

from popek.base.errors import PopekError

READ, WRITE = 0, 1


class Device(Protocol):
    """A device model: `size` bytes of registers at `base`."""

    base: int
    size: int

    def read(self, offset: int, size: int) -> int: ...

    def write(self, offset: int, size: int, value: int) -> None: ...


class OutOfMemory(PopekError):
    """A guest-physical address range that is not RAM."""

    def __init__(self, paddr: int, n: int) -> None:
        super().__init__(f"no memory at 0x{paddr:x} for {n} bytes")


class GuestMemory:
    """Guest RAM by guest-physical address: bounds are checked, and engines hear of what is written."""

    def __init__(self, base: int, memory: memoryview, wrote: Callable[[int, int], None] | None = None) -> None:
        self.base = base
        self.size = len(memory)
        self._memory = memory
        self._wrote = wrote

    def view(self, paddr: int, n: int) -> memoryview:
        """Writable view of `n` bytes; call mark_written after writing through it."""
        offset = paddr - self.base
        if n < 0 or offset < 0 or offset + n > self.size:
            raise OutOfMemory(paddr, n)
        return self._memory[offset : offset + n]

    def read(self, paddr: int, n: int) -> bytes:
        """`n` bytes."""
        return bytes(self.view(paddr, n))

    def write(self, paddr: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes and tell the engines."""
        self.view(paddr, len(data))[:] = data
        self.mark_written(paddr, len(data))

    def mark_written(self, paddr: int, n: int) -> None:
        """Bytes were written: translated code of them is stale."""
        if self._wrote is not None and n > 0:
            self._wrote(paddr, n)


class Line:
    """One interrupt line into the interrupt controller."""

    def __init__(self, drive: Callable[[int, int], None], source: int) -> None:
        self._drive, self.source = drive, source

    def set(self, level: bool) -> None:
        """Raise or lower it. Any thread."""
        self._drive(self.source, int(level))


class Bus:
    """Finds the device of an address. Devices are added before the machine runs."""

    def __init__(self, report: Callable[[str], None] | None = None) -> None:
        self._bases: list[int] = []
        self._devices: list[Device] = []
        self._report = report or (lambda text: print(f"popek: {text}", file=sys.stderr, flush=True))
        self._reports = 0

    def add(self, device: Device) -> None:
        """Put a device at its place; places must not overlap."""
        i = bisect.bisect(self._bases, device.base)
        before = self._devices[i - 1] if i else None
        if before and before.base + before.size > device.base:
            raise ValueError(f"two devices at 0x{device.base:x}")
        if i < len(self._bases) and device.base + device.size > self._bases[i]:
            raise ValueError(f"two devices at 0x{self._bases[i]:x}")
        self._bases.insert(i, device.base)
        self._devices.insert(i, device)

    def find(self, address: int) -> Device | None:
        """The device there."""
        i = bisect.bisect(self._bases, address) - 1
        if i >= 0 and address < self._bases[i] + self._devices[i].size:
            return self._devices[i]
        return None

    def read(self, address: int, size: int) -> int | None:
        """Read a register; None: nobody is there."""
        device = self.find(address)
        if device is None:
            return None
        return device.read(address - device.base, size) & (1 << 8 * size) - 1

    def write(self, address: int, size: int, value: int) -> bool:
        """Write a register; False: nobody is there."""
        device = self.find(address)
        if device is None:
            return False
        device.write(address - device.base, size, value & (1 << 8 * size) - 1)
        return True

    def failed(self) -> None:
        """A device model raised: a defect of ours, told to the user, while the guest sees an access fault."""
        self._reports += 1
        if self._reports <= 10:
            import traceback

            self._report(f"a device model failed:\n{traceback.format_exc()}")

    def callback(self) -> Callable[[int], int]:
        """What native code calls (vmm.vm.Access by address): 0 when the access was answered."""

        def answer(place: int) -> int:
            access = Request.from_address(place)
            try:
                if access.write:
                    return 0 if self.write(access.address, access.size, access.value) else 1
                value = self.read(access.address, access.size)
            except Exception:
                self.failed()
                return 1
            if value is None:
                return 1
            access.value = value
            return 0

        return answer


class Request(ctypes.Structure):
    """vmm.vm.Access, without importing the monitor."""

    _fields_ = (("address", ctypes.c_uint64), ("value", ctypes.c_uint64), ("size", ctypes.c_uint32),
                ("write", ctypes.c_uint32))  # fmt: skip
