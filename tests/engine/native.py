"""Harts on the template engine with a little RAM, for tests: what tests.isa.machine is for the reference."""

from __future__ import annotations

import ctypes
import functools
import threading
from pathlib import Path
from typing import Any

from popek.api.native import vectors
from popek.base.memory import Block
from popek.engine import tlb, vector
from popek.engine.template import setup
from popek.engine.template.layout import Cache
from popek.isa import table
from popek.isa.hart import Board, Hart, reset
from popek.isa.pmp import pmp_open
from popek.isa.v import BLOCK, ENTRY, LOADER
from popek.lang import atomic_or, cache, fn, objects, u32
from popek.lang.llvm import emit
from tests.engine import desk
from tests.engine.desk import POLL_STOP, POLL_WATCH, Desk

RAM = 0x8000_0000
MASK = (1 << 64) - 1
BITS = POLL_STOP | POLL_WATCH
WROTE = "popek.engine.template.coherence.device_wrote"
RUN = "popek.engine.template.run.run_hart"


@fn(export=True)
def prepare(h: Hart) -> None:
    """A hart as after power-on, that may reach all memory."""
    reset(h)
    pmp_open(h)


@fn(export=True)
def nudge(h: Hart, bits: u32) -> None:
    """Ask a hart to look up, from any thread: for an interrupt that is not there, for work of the engine's."""
    atomic_or(h.poll, bits)


@functools.cache
def library() -> objects.Library:
    """The engine with the desk's devices around it, compiled once and kept."""
    here = Path(__file__).resolve().parent
    source = Path(setup.__file__).resolve().parent.parent.parent

    def make() -> objects.Image:
        from popek.engine.optimizing import watching
        from popek.engine.template import coherence, run
        from popek.hosted import port as hosted

        functions, bound, substitute = setup.build_parts()
        functions += vector.exports()
        mine = [prepare, nudge, coherence.regime_changed, coherence.pmp_changed, coherence.tlb_flush]
        bound |= {**desk.PORTS, run.poll: desk.poll, run.trap: desk.trap, coherence.asleep: desk.asleep}
        bound[watching.pause] = hosted.pause
        return objects.build(emit([*functions, *mine], ports=bound, substitute=substitute, exports=[*functions, *mine]))

    key = objects.fingerprint(
        "tests.engine.native", here / "desk.py", here / "native.py", source / "engine", source / "isa"
    )
    return objects.cached(key, make).link()


@functools.cache
def templates() -> bytes:
    """The packed template library."""
    here = Path(setup.__file__).resolve().parent

    def make() -> bytes:
        from popek.engine.template import library

        return library.build()

    beside = (here.parent / "tlb.py", here.parent / "vector.py", here.parent / "optimizing" / "state.py",
              here.parent.parent / "isa")  # fmt: skip
    return cache.kept(cache.fingerprint("tests.templates", here, *beside), make)


class NativeMachine:
    """`harts` harts on the template engine, RAM of `size` bytes at RAM: one for all, or a private one for each.

    Private ones share the map of code pages: what one hart translates and writes is noise to the others, that they must
    bear without a difference.
    """

    def __init__(self, harts: int = 1, size: int = 1 << 20, private: bool = False) -> None:
        self.library = library()
        self.code_map = Block(max(size >> 12, 4096))
        self.rams = [Block(size) for _ in range(harts if private else 1)]
        self.memory = self.rams[0].map
        self.boards = []
        for ram in self.rams:
            board = Board.ctype()()
            board.ram, board.ram_base, board.ram_size, board.code_map = ram.address, RAM, size, self.code_map.address
            self.boards.append(board)
        self.engine = setup.TemplateEngine(self.library, templates())
        self._prepare = self.library.call(prepare, None, ctypes.c_uint64)
        self.nudge = self.library.call(nudge, None, ctypes.c_uint64, ctypes.c_uint32)
        self._run = self.library.call(RUN, None, ctypes.c_uint64)
        self._forget = self.library.call("popek.engine.template.pages.reset_hart", None, ctypes.c_uint64)
        self._device_wrote = self.library.call(WROTE, None, *[ctypes.c_uint64] * 3)
        self.harts: list[Any] = []
        self.desks: list[Any] = []
        for number in range(harts):
            h, d = Hart.ctype()(), Desk.ctype()()
            h.board = ctypes.addressof(self.boards[number % len(self.boards)])
            h.vm, h.hartid, h.pc = ctypes.addressof(d), number, RAM
            self._prepare(ctypes.addressof(h))
            self.harts.append(h)
            self.desks.append(d)
        for number, h in enumerate(self.harts):
            self.engine.attach(ctypes.addressof(h), number, harts)
        self._vectors = Block(harts * BLOCK)
        self._loader = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(self._load_vectors)
        for number, h in enumerate(self.harts):
            h.vector = self._vectors.address + number * BLOCK
            self._word(h, LOADER).value = ctypes.cast(self._loader, ctypes.c_void_p).value
        self.hart, self.desk = self.harts[0], self.desks[0]

    def _word(self, hart: Any, offset: int) -> Any:
        return ctypes.c_uint64.from_address(hart.vector + offset)

    def _load_vectors(self, hart: int) -> int:
        """A hart met its first vector instruction."""
        code = vectors()
        names = {f"popek_vector_{what}": f"popek.engine.vector.{what}_for" for what in ("load", "store", "view")}
        self._vector_code = code.link({to: self.library.address(name) for to, name in names.items()})
        for h in self.harts:
            self._word(h, ENTRY).value = self._vector_code.address("popek.engine.vector_library.run")
        return 0

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into guest memory as a device does, so that engines know."""
        self.memory[address - RAM : address - RAM + len(data)] = data
        self._device_wrote(ctypes.addressof(self.hart), address, len(data))

    def word(self, address: int, size: int = 8) -> int:
        """Read a little-endian number from guest memory."""
        return int.from_bytes(self.memory[address - RAM : address - RAM + size], "little")

    def put(self, address: int, value: int, size: int = 8) -> None:
        """Write a little-endian number into guest memory."""
        self.write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def program(self, text: str, address: int = RAM) -> int:
        """Assemble lines as tests.isa.machine does. Returns the address after the last one."""
        lines = [line for line in (line.split("#")[0].strip() for line in text.strip().splitlines()) if line]
        labels: dict[str, int] = {}
        for second in (False, True):
            at = address
            for line in lines:
                if line.endswith(":"):
                    labels[line[:-1]] = at
                    continue
                size = 2 if line.startswith("c.") else 4
                if second:
                    *head, last = line.split(" ")
                    if last in labels:
                        line = " ".join([*head, hex(labels[last])])
                    self.put(at, table.assemble(line, at), size)
                at += size
        return at

    def run(self, number: int = 0, seconds: float = 10.0, polls: int = 0) -> bool:
        """Run one hart until it finishes, or for a number of poll points. False: it had to be stopped from outside."""
        h, d = self.harts[number], self.desks[number]
        d.polls, d.limit, d.finished = 0, polls, 0
        h.poll = h.poll & ~BITS | (POLL_WATCH if polls else 0)
        self.go(number, seconds)
        return bool(d.finished or (polls and d.polls >= polls))

    def stop(self, number: int = 0) -> None:
        """Make a hart leave at its next poll point; from any thread."""
        self.harts[number].poll |= POLL_STOP

    def run_all(self, seconds: float = 20.0) -> bool:
        """Run all harts, each on a thread, until all have finished."""
        done = [False] * len(self.harts)

        def one(number: int) -> None:
            done[number] = self.run(number, seconds)

        threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(self.harts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 5)
        return all(done)

    def go(self, number: int = 0, seconds: float = 10.0) -> bool:
        """Run a hart until something stops it. False: it had to be stopped from outside."""
        late: list[bool] = []

        def stop() -> None:
            late.append(True)
            self.stop(number)

        watchdog = threading.Timer(seconds, stop)
        watchdog.daemon = True
        watchdog.start()
        self._run(ctypes.addressof(self.harts[number]))
        watchdog.cancel()
        self.harts[number].poll &= ~BITS
        return not late

    def address(self, number: int = 0) -> int:
        """Host address of a hart."""
        return ctypes.addressof(self.harts[number])

    def prepare(self, number: int = 0) -> None:
        """Reset a hart's architectural state."""
        self._prepare(ctypes.addressof(self.harts[number]))

    def forget(self, number: int = 0) -> None:
        """Throw everything translated away, as a reset of the hart does."""
        self._forget(ctypes.addressof(self.harts[number]))

    def age(self, flushes_left: int, number: int = 0) -> None:
        """Let the TLB's generations run out after about so many flushes (engine.tlb)."""
        tables = tlb.Tlbs.ctype().from_address(self.harts[number].engine[tlb.E_TLBS])
        tables.generation = max(tables.generation, tlb.LAST_GENERATION - tlb.GENERATION_STEP * flushes_left)

    def install(self, image: bytes, pc: int, number: int = 0) -> int:
        """Install a region image (engine.optimizing.image) for `pc` as the hart's mode sees it; the hart must not run.

        What became of it: engine.optimizing.state.INSTALLED and others.
        """
        install = self.library.call("popek.engine.optimizing.regions.install", *[ctypes.c_uint64] * 5, ctypes.c_uint32)
        held = ctypes.create_string_buffer(image, len(image))
        return int(install(self.address(number), ctypes.addressof(held), len(image), pc, self.harts[number].mode))

    def cache(self, number: int = 0) -> Any:
        """The hart's code cache (template.layout.Cache)."""
        return Cache.ctype().from_address(self.harts[number].engine[0])

    def statistics(self, number: int = 0) -> dict[str, int]:
        """The engine's counters."""
        return self.engine.statistics(ctypes.addressof(self.harts[number]))
