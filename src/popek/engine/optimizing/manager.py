"""The manager of the optimizing engine: decides which code becomes a region, and sees to it. A thread of the machine.

Lives here: policy, and what becomes of events (watching). Harts install by themselves what they get by mail; regions
are made by the worker process (client) or found in the code cache. Nothing here stops a guest: without worker or cache
it goes on with templates.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from popek.base.memory import Block
from popek.engine.optimizing.client import Client, WorkerDied
from popek.engine.optimizing.places import CALL_BYTES, Place, Policy, callee, hopeless, hopeless_code, is_hopeless
from popek.engine.optimizing.worker import DESCRIPTION, LARGEST, PAGE_BYTES

if TYPE_CHECKING:
    from popek.lang.objects import Library

# As in state, which a start from the cache need not import.
NEW_SPOT, HOT_SPOT, KNOWN_SPOT, MAIL_OPENED, REQUEST_DONE = 1, 2, 3, 4, 5
INSTALLED, ELSEWHERE, STALE, BAD, THERE = 1, 2, 3, 4, 5
HAVE, NEVER, TOLD = 1, 2, 3
DESCRIBED_WELL = 3
EVENT = struct.Struct("<6Q")
EVENTS_AT = 8

PAGE = 4096
HEAD = 8  # bytes of code by which the cache finds regions
HOPELESS_BYTES = 32  # of code that is remembered not to be worth one
LIMIT, SOON = 1000, 20  # milliseconds that the native loop watches at a time; while places wait to be compiled
FINISH_SECONDS = 0.3  # what a machine's end waits for a region in the making
OFTEN = 3  # installations of one region, after which it has to become hot again for another one
IMAGE_BYTES = 64 << 20  # of images kept in memory
MOST = 4096  # places that wait, or are remembered for others

STATISTICS = (
    "milliseconds",
    "milliseconds_in_regions",
    "milliseconds_in_user_mode",
    "milliseconds_in_machine_mode",
    "regions_installed",
    "regions_discarded",
    "regions_refreshed",
    "views_filled",
    "region_steps",
)


class Cache(Protocol):
    """What is asked of engine.codecache."""

    def find(self, offset: int, head: bytes) -> list[bytes]: ...
    def add(self, image: bytes) -> None: ...
    def close(self) -> None: ...


class Known:
    """What is known of a place."""

    __slots__ = ("count", "failures", "images", "installs", "waiting")

    def __init__(self) -> None:
        self.images: list[bytes] = []  # that may be it; the first one is tried
        self.count = 0  # milliseconds
        self.installs = 0
        self.failures = 0
        self.waiting: set[int] = set()  # harts that have mail about it


class Manager:
    """`run` is the thread; `end` makes it return, from any thread."""

    def __init__(
        self,
        native: Library,
        library: int,
        harts: int,
        cache: Cache | None,
        policy: Policy,
        warn: Callable[[str], None],
    ) -> None:
        """`native`: the build with the engine; `library`: host address of its template library."""
        self.policy = policy
        self.cache = cache
        self.client = Client()
        self.compiled = self.refused = self.instructions = self.hits = 0
        self._warn = warn
        self._broken = False
        self._known: dict[Place, Known] = {}
        self._callees: dict[Place, int] = {}  # of places that are not worth a region, but what returned there may be
        self._image_bytes = 0
        self._wanted: dict[Place, tuple[int, int, int]] = {}  # count, hart, mode
        self._asked: tuple[Place, int, int] | None = None  # what is described or compiled now, for which hart and mode
        self._mailed: dict[int, tuple[Place, int, Any]] = {}  # by address of the image
        self._description = Block(LARGEST)
        u64 = ctypes.c_uint64

        def call(name: str, result: Any, *arguments: Any) -> Any:
            return native.call(f"popek.engine.optimizing.watching.{name}", result, *arguments)

        self._watch_block = Block(call("watch_size", u64)())
        self._here = self._watch_block.address
        call("watch_open", None, *[u64] * 6)(
            self._here, library, harts, policy.period, policy.hot, int(cache is not None)
        )
        self._watch = call("watch", ctypes.c_bool, *[u64] * 4)
        self._mail = call("mail", ctypes.c_bool, *[u64] * 6)
        self._request = call("request", ctypes.c_bool, *[u64] * 6)
        self._set_state = call("set_state", None, *[u64] * 5)
        self._statistic = call("watch_statistic", u64, u64, u64)
        self._pollfds = (ctypes.c_uint8 * 16)()
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ending = False

    # -- the thread --

    def run(self) -> None:
        """Watch, and act, until `end`."""
        while not self._ending:
            limit = SOON if self._wanted else LIMIT
            fd = self.client.fd
            struct.pack_into("<ihhihh", self._pollfds, 0, self._end, 1, 0, fd, 1, 0)
            ready = self._watch(self._here, ctypes.addressof(self._pollfds), 1 if fd < 0 else 2, limit)
            self._events()
            if ready and fd >= 0 and struct.unpack_from("<h", self._pollfds, 14)[0]:
                self._answer()
            self._dispatch()
        answer = self.client.finish(FINISH_SECONDS)
        if self.cache is not None:
            if answer:
                self.cache.add(answer)
            self.cache.close()

    def end(self) -> None:
        """The machine has ended. Any thread, any number of times."""
        self._ending = True
        os.eventfd_write(self._end, 1)

    def free(self) -> None:
        """After the thread and all harts have ended."""
        os.close(self._end)

    def statistics(self) -> dict[str, Any]:
        """Counters. Exact once the thread has ended."""
        counted: dict[str, Any] = {name: self._statistic(self._here, i) for i, name in enumerate(STATISTICS)}
        counted["regions_compiled"] = self.compiled
        counted["regions_refused"] = self.refused
        counted["instructions_compiled"] = self.instructions
        counted["compiler_starts"] = self.client.starts
        counted["compiling_seconds"] = self.client.spent + self.client.unanswered
        counted["places_found_in_cache"] = self.hits
        return counted

    # -- events --

    def _events(self) -> None:
        data = ctypes.string_at(self._here, EVENTS_AT)
        count = int.from_bytes(data, "little")
        if not count:
            return
        for kind, hart, pc, host, about, samples in EVENT.iter_unpack(
            ctypes.string_at(self._here + EVENTS_AT, count * EVENT.size)
        ):
            if kind == MAIL_OPENED:
                self._opened(host, about)
                continue
            place = Place(pc, host)
            if kind == NEW_SPOT:
                self._new(place, hart, about)
            elif kind == REQUEST_DONE:
                self._described(place if about == DESCRIBED_WELL else None)
            else:
                known = self._known.get(place)
                if known is not None and known.images:
                    known.count = samples
                    self._post(place, known, hart, about)
                elif kind == HOT_SPOT:
                    called = self._callees.get(place)
                    if len(self._wanted) > MOST:
                        self._wanted.clear()
                    self._wanted[Place(called, 0) if called else place] = samples, hart, about
                else:
                    self._set_state(self._here, pc, host, TOLD, samples * 2)

    def _new(self, place: Place, hart: int, mode: int) -> bool:
        """Is a place in the cache? True: it is, and nothing more is to be done."""
        if self.cache is None:
            return False
        offset = place.pc & (PAGE - 1)
        found = self.cache.find(offset, ctypes.string_at(place.host, min(HEAD, PAGE - offset)))
        useful = [image for image in found if not is_hopeless(image)]
        for code in map(hopeless_code, filter(is_hopeless, found)):
            if ctypes.string_at(place.host, len(code)) == code:
                self._not_worth_it(place)
                return True
        if useful:
            self.hits += 1
            self._keep(place, useful)
            self._post(place, self._known[place], hart, mode)
        return bool(useful)

    def _not_worth_it(self, place: Place) -> None:
        """No region for this place: but if a function returned there, that is where the time went."""
        for caller in [c for c, called in self._callees.items() if called == place.pc]:
            del self._callees[caller]
            self._set_state(self._here, caller.pc, caller.host, NEVER, 0)
        size = min(CALL_BYTES, place.pc & (PAGE - 1))
        called = callee(ctypes.string_at(place.host - size, size), place.pc)
        if len(self._callees) > MOST:
            self._callees.clear()
        if called:
            self._callees[place] = called
        self._set_state(self._here, place.pc, place.host, TOLD if called else NEVER, self.policy.hot * 2)

    def _keep(self, place: Place, images: list[bytes]) -> None:
        size = sum(map(len, images))
        while self._known and self._image_bytes + size > IMAGE_BYTES:
            oldest = self._known.pop(next(iter(self._known)))
            self._image_bytes -= sum(map(len, oldest.images))
        known = self._known.setdefault(place, Known())
        known.images = images
        self._image_bytes += size
        self._set_state(self._here, place.pc, place.host, HAVE, 0)

    def _post(self, place: Place, known: Known, hart: int, mode: int) -> None:
        """Send a hart the first image of a place."""
        if hart in known.waiting:
            return
        held = ctypes.create_string_buffer(known.images[0], len(known.images[0]))
        address = ctypes.addressof(held)
        if self._mail(self._here, hart, address, len(held), place.pc, mode):
            self._mailed[address] = place, hart, held
            known.waiting.add(hart)

    def _opened(self, address: int, result: int) -> None:
        place, hart, _ = self._mailed.pop(address)
        known = self._known.get(place)
        if known is None:
            return
        known.waiting.discard(hart)
        if result in (STALE, BAD):
            if known.images:
                self._image_bytes -= len(known.images.pop(0))
            known.failures += 1
        elif result == ELSEWHERE:
            known.failures += 1
        elif result == INSTALLED:
            known.installs += 1
        tries = known.failures + known.installs
        if not known.images or tries > OFTEN:
            self._set_state(self._here, place.pc, place.host, TOLD, (known.count + 1) * 2)

    # -- compiling --

    def _dispatch(self) -> None:
        """Ask for a description of the hottest place, if the worker is free and it is time."""
        if self._broken or self._asked or self.client.busy or not self._wanted:
            return
        if self.client.process is None:
            waiting = sum(count for count, _, _ in self._wanted.values())
            if waiting < self.policy.start:
                return
        passed = self._statistic(self._here, 0)
        if self.client.spent > self.policy.credit + passed / 1000 * self.policy.share:
            return
        place = max(self._wanted, key=lambda p: self._wanted[p][0])
        _, hart, mode = self._wanted.pop(place)
        if self._request(self._here, hart, self._description.address, place.pc, place.host, mode):
            self._asked = place, hart, mode

    def _described(self, place: Place | None) -> None:
        asked, self._asked = self._asked, None
        if place is None or asked is None:
            return  # it will be hot again
        _, hart, mode = asked
        known = self._known.get(place)
        if known is not None and known.images:
            self._post(place, known, hart, mode)
            return
        if self._new(place, hart, mode):
            return
        self._asked = place, hart, mode
        (count,) = struct.unpack_from("<Q", self._description.view, 16)
        try:
            self.client.send(bytes(self._description.view[: DESCRIPTION.size + count * PAGE_BYTES]))
        except WorkerDied as error:
            self._give_up(error)

    def _answer(self) -> None:
        try:
            image = self.client.receive()
        except WorkerDied as error:
            self._give_up(error)
            return
        if image is None or self._asked is None:
            return
        (place, hart, mode), self._asked = self._asked, None
        if not image:
            self.refused += 1
            self._not_worth_it(place)
            if self.cache is not None:
                offset = place.pc & (PAGE - 1)
                self.cache.add(hopeless(offset, ctypes.string_at(place.host, min(HOPELESS_BYTES, PAGE - offset))))
            return
        self.compiled += 1
        self.instructions += int.from_bytes(image[48:52], "little")
        self._keep(place, [image])
        self._post(place, self._known[place], hart, mode)
        if self.cache is not None:
            self.cache.add(image)

    def _give_up(self, error: WorkerDied) -> None:
        """The guest goes on without new regions."""
        self._broken, self._asked = True, None
        self._wanted.clear()
        self._warn(f"the optimizing compiler ended: {error}")
