"""The monitor as plain Python, on one thread, with a clock that stands still. No assertions here."""

from __future__ import annotations

from typing import Any

from popek.api import guest, native
from popek.engine.reference import DEFAULT_PORTS
from popek.lang.run import Runner
from popek.vmm import port


class Slept(Exception):
    """Somebody went to sleep: until when (host nanoseconds)."""

    def __init__(self, until: int) -> None:
        super().__init__(until)
        self.until = until


class Monitor:
    """A machine of `harts` harts; `monitor[function](...)` calls a subset function in it."""

    def __init__(self, harts: int = 2, supervisor: bool = True) -> None:
        self.nanoseconds = 1_000_000
        self.woken: list[Any] = []
        self.flushed: list[tuple] = []
        self.yields = 0
        self.on_yield: Any = None
        self.runner = Runner({
            **DEFAULT_PORTS, **native.connections(),
            port.monotonic: lambda waiter: self.nanoseconds,
            port.realtime: lambda waiter: self.nanoseconds,
            port.sleep: self._sleep,
            port.wake: self.woken.append,
            port.give_way: self._give_way,
            port.host_device: lambda function, access: False,
        })  # fmt: skip
        from popek.isa import ports as isa

        self.runner.ports[isa.tlb_flush] = lambda h, *flush: self.flushed.append((h.hartid, *flush))
        self.guest = guest.Guest()
        self.vm = self.guest.vm
        self[guest.prepare](self.guest, harts, int(supervisor), 0, 0x8000_0000, 1 << 20, 0, 0)
        self.harts = self.guest.hart[:harts]
        self.hart = self.harts[0]

    def __getitem__(self, function: Any) -> Any:
        return self.runner[function]

    def _sleep(self, waiter: Any, value: int, until: int) -> None:
        if waiter.word == value:
            raise Slept(until)

    def _give_way(self) -> None:
        self.yields += 1
        if self.on_yield:
            self.on_yield()
        elif self.yields > 1000:
            raise AssertionError("waits for ever")

    @property
    def time(self) -> int:
        """Guest time."""
        return (self.nanoseconds - self.vm.started) // 100

    def start(self, i: int) -> Any:
        """Hart `i` runs."""
        self[guest.start_at](self.guest, i, 0x8000_0000, 0, 0)
        return self.harts[i]
