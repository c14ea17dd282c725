"""The two harts of a machine that is checked, each with its view of the log (vmm.lockstep), behind one interface.

`Native` wraps a NativeCore built with the log; `Plain` is the reference engine. Not here: when they run (check).
"""

from __future__ import annotations

import ctypes
from typing import Any

from popek.api.core import NativeCore
from popek.base.memory import Block
from popek.isa.hart import Hart
from popek.isa.v import BLOCK
from popek.vmm import lockstep
from popek.vmm.lockstep import EVENT, REPLAY, Log

#: What a program could see of a hart: the fields up to the reservation, but for those that are the monitor's, and those
#: of vectors.
MONITORS = {"poll", "trap_cause", "trap_tval", "board", "vm", "hartid"}
_names = list(Hart.fields)
FIELDS = [name for name in _names[: _names.index("reservation_value") + 1] if name not in MONITORS]
FIELDS += _names[_names.index("vl") : _names.index("vector")]

#: Bytes of the vector registers, at Hart.vector (isa/vector/layout): behind the fields, where there are any.
VECTORS, VECTOR = 1024, 32

_u64, _u32, _bool = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_bool
_C = Hart.ctype()


def _ranges() -> list[tuple[int, int]]:
    """Offset and length of each stretch of fields in a hart's memory."""
    found: list[tuple[int, int]] = []
    for name in FIELDS:
        field = getattr(_C, name)
        if found and sum(found[-1]) == field.offset:
            found[-1] = (found[-1][0], found[-1][1] + field.size)
        else:
            found.append((field.offset, field.size))
    return found


RANGES = _ranges()


class Events:
    """The log's memory."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._memory = Block(EVENT * (limit + 1))
        self.address = self._memory.address + EVENT
        self.nothing = self._memory.address

    def __getitem__(self, i: int) -> tuple[int, int, int, int, int]:
        """Kind, size, position, address and value of an event."""
        kind, position, address, value = (_u64 * 4).from_address(self.address + i * EVENT)
        return kind & 0xFFFF_FFFF, kind >> 32, position, address, value

    def free(self) -> None:
        self._memory.free()


class Native:
    """A hart in native code."""

    def __init__(self, name: str, core: NativeCore, events: Events, mode: int) -> None:
        self.name, self.core = name, core
        self._here = core.hart_address(0)
        self._hart = _C.from_address(self._here)
        self._place = Block(core.function("popek.vmm.lockstep.log_size", _u64)())
        self.log: Any = Log.ctype().from_address(self._place.address)
        begin = core.function("popek.vmm.lockstep.begin", None, *[_u64] * 5, _u32)
        begin(self._here, self._place.address, events.address, events.limit, events.nothing, mode)
        for name, result, arguments in (
            ("rewind", None, (_u64,)), ("ask", None, ()), ("idle", _bool, ()), ("parked", _bool, ()),
            ("note_memory", None, (_u64,) * 4), ("one", None, ()),
        ):  # fmt: skip
            call = core.function(f"popek.vmm.lockstep.{name}", result, _u64, *arguments)
            setattr(self, f"_{name}", call)

    def run(self) -> None:
        """To where the log says."""
        self.core.run_hart(0)

    def ask(self) -> None:
        self._ask(self._here)  # type: ignore[attr-defined]

    def idle(self) -> bool:
        return bool(self._idle(self._here))  # type: ignore[attr-defined]

    def parked(self) -> bool:
        return bool(self._parked(self._here))  # type: ignore[attr-defined]

    def note_memory(self, kind: int, paddr: int, n: int, place: int) -> None:
        self._note_memory(self._here, kind, paddr, n, place)  # type: ignore[attr-defined]

    def one(self) -> None:
        """One instruction."""
        self._one(self._here)  # type: ignore[attr-defined]

    def rewind(self, state: bytes, traps: int) -> None:
        """Back to where the log begins."""
        at = 0
        for offset, size in RANGES:
            ctypes.memmove(self._here + offset, state[at : at + size], size)
            at += size
        ctypes.memmove(self._hart.vector, state[at:], len(state) - at)
        self._rewind(self._here, traps)  # type: ignore[attr-defined]

    @property
    def pc(self) -> int:
        return int(self._hart.pc)

    @property
    def instret(self) -> int:
        return int(self._hart.instret)

    @property
    def position(self) -> int:
        return int(self._hart.instret + self.log.traps)

    def state(self) -> bytes:
        """All fields, one behind the other."""
        parts = [ctypes.string_at(self._here + offset, size) for offset, size in RANGES]
        return b"".join([*parts, vectors(self._hart)])

    def free(self) -> None:
        del self.log, self._hart
        self._place.free()


class Plain:
    """A hart on the reference engine, which replays."""

    def __init__(self, name: str, monitor: bool, ram: Block, ram_base: int, events: Events) -> None:
        from popek.api import guest, native
        from popek.engine.reference import DEFAULT_PORTS, Reference
        from popek.lang.run import Runner
        from popek.vmm import port

        self.name = name
        self._guest = guest.Guest()
        outside = {getattr(port, n): lambda *a: 0 for n in ("monotonic", "realtime", "sleep", "wake", "give_way")}
        bound = {**DEFAULT_PORTS, **native.connections(), **outside}
        _, changed, substitute = native.check_parts(bound)
        bound |= changed
        run = self._runner = Runner(bound, substitute)
        run[guest.prepare](self._guest, 1, int(monitor), ram.address, ram_base, len(ram.map), 0, 0)
        self.hart = self._guest.hart[0]
        self.log: Any = Log()
        self.log.events, self.log.limit, self.log.nothing = events.address, events.limit, events.nothing
        self.log.mode, self.log.left_at = REPLAY, (1 << 64) - 1
        vm: Any = self._guest.vm
        vm.check = self.log
        self.hart.poll = self.hart.poll | lockstep.POLL_CHECK
        self._engine = Reference([self.hart], bound, self._trapped)
        self._trap, self._poll = run[lockstep.trap], run[lockstep.poll]

    def _trapped(self, h: Any) -> bool:
        self._trap(h)
        return True

    def start_at(self, i: int, pc: int, a1: int, a2: int) -> None:
        from popek.api import guest

        self._runner[guest.start_at](self._guest, i, pc, a1, a2)

    def run(self) -> None:
        h, step = self.hart, self._engine.step
        while not (h.poll and self._poll(h)):
            while not step(h):
                pass

    def one(self) -> None:
        self._runner[lockstep.one](self.hart)

    def rewind(self, state: bytes, traps: int) -> None:
        for name, values in fields(state).items():
            if name == "v":
                ctypes.memmove(self.hart.vector, state[-VECTORS:], VECTORS)
            elif isinstance(values, int):
                setattr(self.hart, name, values)
            else:
                getattr(self.hart, name)[:] = values
        self._runner[lockstep.rewind](self.hart, traps)

    @property
    def pc(self) -> int:
        return int(self.hart.pc)

    @property
    def instret(self) -> int:
        return int(self.hart.instret)

    @property
    def position(self) -> int:
        return int(self.hart.instret + self.log.traps)

    def state(self) -> bytes:
        parts = []
        for name in FIELDS:
            kind = getattr(_C, name)
            value = getattr(self.hart, name)
            if isinstance(value, int):
                parts.append(value.to_bytes(kind.size, "little"))
            else:
                parts += [int(v).to_bytes(kind.size // len(value), "little") for v in value]
        return b"".join([*parts, vectors(self.hart)])

    def lend_vectors(self) -> None:
        """Let the hart have vectors."""
        from popek.api import guest

        self._vectors = Block(BLOCK)
        self._runner[guest.lend_vectors](self._guest, self._vectors.address, 0)

    def free(self) -> None:
        """Nothing to give back."""


def vectors(h: Any) -> bytes:
    """The vector registers of a hart, if it has some."""
    return ctypes.string_at(h.vector, VECTORS) if h.vector else b""


def fields(state: bytes) -> dict[str, Any]:
    """The fields by name: numbers, and lists of them."""
    found: dict[str, Any] = {}
    at = 0
    zero = _C()
    for name in FIELDS:
        size = getattr(_C, name).size
        value = getattr(zero, name)
        if isinstance(value, int):
            found[name] = int.from_bytes(state[at : at + size], "little")
        else:
            n = size // len(value)
            found[name] = [int.from_bytes(state[i : i + n], "little") for i in range(at, at + size, n)]
        at += size
    if at < len(state):
        found["v"] = [int.from_bytes(state[i : i + VECTOR], "little") for i in range(at, len(state), VECTOR)]
    return found
