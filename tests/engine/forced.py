"""Programs of the differential tests on regions: compiled at poll points where a program was stopped, then run on.

Lives here: making requests from a hart's code pages, without manager and worker, and the comparison. Not here: pairs.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator

from popek.engine.optimizing import compile
from popek.engine.optimizing.image import Page, Request
from popek.engine.optimizing.state import INSTALLED
from popek.engine.template.layout import CodePage
from tests.engine import desk
from tests.engine.native import NativeMachine
from tests.engine.pair import Pair, load_native
from tests.engine.scaffold import Program


def request(machine: NativeMachine, pc: int, bare: bool) -> Request:
    """What the manager would send for a region at `pc`."""
    cache, pages = machine.cache(), {}
    for i in range(cache.page_count):
        page = CodePage.ctype().from_address(cache.pages + i * CodePage.size)
        bits = bytearray(256)
        for k, entry in enumerate(page.entry):
            if entry or page.known[k >> 6] >> (k & 63) & 1:
                bits[k >> 3] |= 1 << (k & 7)
        pages[page.vpage] = Page(ctypes.string_at(page.host, 4096), bytes(bits))
    return Request(pc, bare, pages)


class Regions:
    """Runs programs with regions. Compiled ones are remembered by their bytes."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.compiled: dict[tuple[object, ...], bytes | None] = {}
        self.installed = self.instructions = 0

    def image(self, pc: int) -> bytes | None:
        """A region for where the hart is now."""
        hart = self.pair.native.hart
        bare = hart.mode == 3 or hart.satp >> 60 == 0
        wanted = request(self.pair.native, pc, bare)
        key = (pc, bare, *((p, page.data, page.translated) for p, page in sorted(wanted.pages.items())))
        if key not in self.compiled:
            if len(self.compiled) > 500:
                self.compiled.clear()
            self.compiled[key] = compile.compile_region(wanted)
        return self.compiled[key]

    def check(self, program: Program, places: int = 4, polls: int = 700) -> list[str]:
        """Stop at some poll points; at each compile a region, install it with all earlier ones, and run to the end.

        Returns what differs from the reference then.
        """
        pair, native = self.pair, self.pair.native
        pair.load(program)
        if not pair.oracle.advance(polls) or not pair.oracle.desk.finished:
            return []
        if pair.oracle.undefined or pair.oracle.stop_showed:
            return []
        last = pair.oracle.desk.polls
        images: dict[int, bytes] = {}
        for limit in stops(program, last, places):
            load_native(native, 0, program, pair.image)
            if not pair.watch(limit):
                return ["did not stop"]
            pc = native.hart.pc
            if (made := self.image(pc)) is not None:
                images[pc] = made
            native.hart.poll &= ~desk.POLL_WATCH
            native.desk.limit = 0
            for where, image in images.items():
                self.installed += native.install(image, where) == INSTALLED
            if not native.go():
                return [f"did not end after poll point {limit}", *pair.differences(False)]
            if found := pair.differences(False):
                return [f"regions {[hex(p) for p in images]} from poll point {limit} on: {line}" for line in found]
            self.instructions += native.hart.instret
        return []


def stops(program: Program, last: int, places: int) -> Iterator[int]:
    """Poll points to stop at."""
    r = random.Random(program.data)
    yield from sorted({r.randrange(1, max(last, 2)) for _ in range(places)})
