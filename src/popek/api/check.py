"""`popek boot --check`: a second engine runs beside the first, and is compared with it.

The first hart runs as always, but writes what it cannot know by itself into a log (vmm.lockstep), and comes out at a
poll point now and then. Then the second, which has RAM of its own, runs to the same poll point with the log for
its world, and both must be equal: all registers each time; all of RAM at longer intervals, which are also the moments
to which both can go back when they differ (check_narrow). All on the hart's one thread.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

from popek.api import check_narrow
from popek.api.check_side import Events, Native, Plain
from popek.api.check_turn import Gate, Turn
from popek.api.core import NativeCore
from popek.base.errors import BadInput, PopekError
from popek.base.memory import Block
from popek.vmm.lockstep import COMPARE, MEMORY, MEMORY_AT_POLL, RECORD, REPLAY

SECONDS = ("step", "reference")
QUANTUM = 0.001  # seconds of the first engine between two comparisons
EVENTS = 1 << 20  # that the log holds
PATIENCE = 1.0  # seconds between two comparisons of all memory, at least
SHARE = 10  # and at least so many times as long as the last one took
HELD = 64 << 20  # bytes from devices that are kept for going back
CHUNK = 1 << 16


class Memories:
    """RAM of both sides, and as it was when all of it was last compared."""

    def __init__(self, first: Block) -> None:
        size = len(first.map)
        self.first, self.second, self.base = first, Block(size), Block(size)
        self.size = size
        self._compare = ctypes.CDLL(None).memcmp
        self._compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

    def chunks(self, a: Block, b: Block) -> list[int]:
        """Offsets of chunks that differ."""
        x, y, compare = a.address, b.address, self._compare
        return [at for at in range(0, self.size, CHUNK) if compare(x + at, y + at, min(CHUNK, self.size - at))]

    def copy(self, to: Block, source: Block, at: int) -> int:
        """Copy a chunk; its length."""
        n = min(CHUNK, self.size - at)
        ctypes.memmove(to.address + at, source.address + at, n)
        return n

    def words(self, most: int = 64) -> list[int]:
        """Offsets of doublewords in which the two sides differ."""
        found: list[int] = []
        for at in self.chunks(self.first, self.second):
            mine, its = (b.view[at : at + CHUNK].cast("Q") for b in (self.first, self.second))
            found += [at + 8 * i for i in range(len(mine)) if mine[i] != its[i]]
            if len(found) >= most:
                break
        return found[:most]

    def free(self) -> None:
        self.second.free()
        self.base.free()


class CheckedCore:
    """What NativeCore is to a machine, with a second core beside it."""

    threads_needed = True

    def __init__(
        self, engine: str, check: str, harts: int, monitor: bool, ram: Block, ram_base: int,
        answer: Callable[[int], int], progress: Callable[[str], None] | None, warn: Callable[[str], None] | None,
    ) -> None:  # fmt: skip
        if harts != 1:
            raise BadInput("--check works with one hart only", "leave out --smp")
        if check not in SECONDS:
            raise BadInput(f"--check={check}: no such engine", f"choose one of {', '.join(SECONDS)}")
        if engine == "reference" or engine == check:
            raise BadInput(f"--check={check} cannot check the engine {engine}", "choose another --engine")
        self._answer = answer
        self._ram_base = ram_base
        self._events = Events(EVENTS)
        self.memories = Memories(ram)
        base = "template" if engine == "optimizing" else engine  # which stands on it
        self._core = NativeCore(base, 1, monitor, ram, ram_base, self._access, progress, warn, f"{base}-check")
        self.first = Native(engine, self._core, self._events, RECORD)
        self.second: Any
        if check == "reference":
            self.second = Plain(check, monitor, self.memories.second, ram_base, self._events)
            self._start_second, self._lend_second = self.second.start_at, self.second.lend_vectors
        else:
            core = NativeCore(check, 1, monitor, self.memories.second, ram_base, _nobody, progress, warn, "step-check")
            self.second = Native(check, core, self._events, REPLAY)
            self._start_second, self._lend_second = core.start_at, core.lend_vectors
        self.turn = Turn(self.first.ask, self.first.parked)
        self._transports: list[Any] = []
        self._rings: dict[int, bytes] = {}
        self._held: list[Any] = []
        self._held_bytes = 0
        self._notes = threading.Lock()
        self._running = False
        self.stops: list[int] = []  # events before each comparison since memory was compared
        self.base_state, self.base_traps, self.base_instret = b"", 0, 0
        self.comparisons = self.memory_comparisons = self.instructions = 0
        self._due = 0.0
        self._end = threading.Event()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the first core's."""
        return getattr(self._core, name)

    # -- what api/machine calls --

    def start_at(self, i: int, pc: int, a1: int, a2: int) -> None:
        """Hart `i` runs from `pc`, on both sides."""
        self._core.start_at(i, pc, a1, a2)
        self._start_second(i, pc, a1, a2)

    def lend_vectors(self) -> None:
        """Let both harts have vectors."""
        self._core.lend_vectors()
        self._lend_second()

    def gate(self) -> Gate:
        """The lock of a device."""
        return Gate(self.turn)

    def adopt(self, transport: Any) -> None:
        """Watch the rings of a device, and let its worker wait for its turn."""
        self._transports.append(transport)
        transport.worker.around = self.turn

    def wrote(self, paddr: int, n: int) -> None:
        """A device wrote to RAM."""
        if self._running:
            at = paddr - self._ram_base
            self._keep(paddr, bytes(self.memories.first.view[at : at + n]))
        self._core.wrote(paddr, n)

    def run_hart(self, i: int) -> None:
        """The hart's thread: both engines, in turns, to the end of the machine. Raises Difference."""
        self._begin()
        watcher = threading.Thread(target=self._watch, name="check", daemon=True)
        watcher.start()
        try:
            while not self.first.log.ended:
                self.turn.enter()
                self._look_at_rings()
                self._at_poll = False
                self._core.run_hart(0)
                self._at_poll = True
                self._compare()
                self.turn.leave()
        finally:
            self._running = False
            self._end.set()
            self.turn.leave()
            watcher.join()

    def free(self) -> None:
        """After all threads have ended."""
        self._rings.clear()
        self.first.free()
        self.second.free()
        if isinstance(self.second, Native):
            self.second.core.free()
        self._core.free()
        self.memories.free()
        self._events.free()

    # -- the hart's thread --

    def _begin(self) -> None:
        memories = self.memories
        for to in (memories.second, memories.base):
            for at in memories.chunks(to, memories.first):
                memories.copy(to, memories.first, at)
        self._remember()
        self._running, self._at_poll = True, True

    def _watch(self) -> None:
        """Another thread: makes the first engine come out once in a while, unless it sleeps anyway."""
        while not self._end.wait(QUANTUM):
            if self.turn.inside and not self.first.idle():
                self.first.ask()

    def _access(self, place: int) -> int:
        """The hart asks a device model."""
        self.turn.leave()
        try:
            return self._answer(place)
        finally:
            self.turn.enter()
            self._look_at_rings()

    def _look_at_rings(self) -> None:
        """Devices write their rings through views (devices/virtio/queue): note what has changed in them."""
        for transport in self._transports:
            for queue in transport.queues:
                if queue.ready:
                    at, n = queue.device - self._ram_base, 6 + 8 * queue.size
                    ring = bytes(self.memories.first.view[at : at + n])
                    if self._rings.get(id(queue)) != ring:
                        self._rings[id(queue)] = ring
                        self._keep(queue.device, ring)

    def _keep(self, paddr: int, data: bytes) -> None:
        held = ctypes.create_string_buffer(data, len(data))
        kind = MEMORY_AT_POLL if self._at_poll else MEMORY
        with self._notes:
            self._held.append(held)
            self._held_bytes += len(data)
            self.first.note_memory(kind, paddr, len(data), ctypes.addressof(held))

    def _compare(self) -> None:
        """The first side has come out; bring the second one there."""
        first, second = self.first, self.second
        count = first.log.count
        if count >= self._events.limit:
            raise PopekError("the log of --check overflowed", "please report it")
        if self._events[count - 1][0] != COMPARE:
            raise PopekError("internal error: the checked hart came out without a reason", "please report it")
        self.stops.append(count)
        second.log.count = count
        second.run()
        self.comparisons += 1
        self.instructions = first.instret
        equal = not second.log.wrong and first.state() == second.state()
        full = count > self._events.limit // 2 or self._held_bytes > HELD
        if not equal or first.log.ended or full or time.monotonic() > self._due:
            began = time.monotonic()
            self.memory_comparisons += 1
            if not equal or self.memories.chunks(self.memories.first, self.memories.second):
                raise check_narrow.Difference(check_narrow.find(self))
            for at in self.memories.chunks(self.memories.base, self.memories.second):
                self.memories.copy(self.memories.base, self.memories.second, at)
            self._remember()
            now = time.monotonic()
            self._due = now + max(PATIENCE, SHARE * (now - began))

    def _remember(self) -> None:
        """Everything was equal: this is where one can go back to."""
        self.base_state = self.first.state()
        self.base_traps, self.base_instret = self.first.log.traps, self.first.instret
        self.first.log.count = self.second.log.count = self.second.log.index = 0
        self.stops.clear()
        self._held.clear()
        self._held_bytes = 0

    def go_back(self) -> None:
        """Both sides to that moment; from now on both replay."""
        memories = self.memories
        for at in memories.chunks(memories.second, memories.base):
            memories.copy(memories.second, memories.base, at)
        for at in memories.chunks(memories.first, memories.base):
            self._core.wrote(self._ram_base + at, memories.copy(memories.first, memories.base, at))
        for side in (self.first, self.second):
            side.rewind(self.base_state, self.base_traps)

    def summary(self) -> str:
        """What was done, in a line."""
        return (f"{self.first.name} and {self.second.name} agree: {self.instructions:,} instructions, registers "
                f"compared {self.comparisons:,} times, all memory {self.memory_comparisons:,} times")  # fmt: skip


def _nobody(place: int) -> int:
    """The second side has no devices."""
    return 1
