"""The sampling thread, natively: asks harts where they are, counts what they say, tells the manager what matters.

Lives here: the loop that the manager's thread sleeps in, and how it asks harts for something. Not here: what
harts do then (sampling), what the manager does (manager). The host's way to sleep is bound at composition.

A sleeping machine is left alone: the loop then looks at it ever more rarely.
"""

from __future__ import annotations

from popek.engine.optimizing.state import (
    ABOUT_ENTRY,
    ABOUT_IN_REGION,
    ASKED,
    ASKED_MAIL,
    ASKED_REQUEST,
    ASKED_SAMPLE,
    EVENTS,
    HAVE,
    HOT_SPOT,
    IDLE,
    IN_WORK,
    KNOWN_SPOT,
    MAIL_OPENED,
    MAILS,
    NEVER,
    NEW_SPOT,
    REFUSED,
    REQUEST_DONE,
    SAMPLES,
    SPOTS,
    TOLD,
    UNKNOWN,
    WAITING,
    Sample,
    Spot,
    Watch,
)
from popek.engine.template.coherence import asleep
from popek.engine.template.layout import Cache, Library
from popek.engine.template.pages import POLL_ENGINE
from popek.isa.hart import MACHINE, USER, Hart
from popek.lang import Ptr, atomic_cas, atomic_load, atomic_or, atomic_store, cast, fn, port, u32, u64

IDLE_INTERVAL = 100  # milliseconds between two looks at a machine that sleeps
LATEST = 4  # milliseconds that an event waits for company
# Waking this thread costs tens of microseconds. Samples become rarer by and by, and where nothing is new.
BEGINNING, QUIET, LONGEST = 100, 100, 4  # rounds, rounds, milliseconds
NO_PC = 1
PATIENCE = 50  # rounds that a request waits for its mode and address space
SPOTS_FULL = SPOTS * 3 // 4


@port
def pause(place: u64, count: u64, milliseconds: u32) -> bool:
    """Sleep; end early, with True, if one of `count` pollfd records at `place` has something."""
    ...


@fn(export=True)
def watch_size() -> u64:
    """Bytes of a Watch."""
    return Watch.size


@fn(export=True)
def watch_open(w: Watch, library: u64, harts: u64, period: u64, hot: u64, tells_new: u64) -> None:
    """Make the zeroed `w` ready."""
    w.library = library
    w.harts = harts
    w.period = period
    w.interval = period
    w.hot = hot
    w.tells_new = tells_new
    clear_spots(w)


@fn
def clear_spots(w: Watch) -> None:
    """Forget all places."""
    w.used = 0
    for i in range(SPOTS):
        w.spots[i].pc = NO_PC


@fn(inline=True)
def hart_cache(w: Watch, i: u64) -> Cache:
    """The code cache of hart number `i`."""
    return cast(Cache, cast(Library, w.library).caches[i])


@fn
def spot_of(w: Watch, pc: u64, host: u64) -> Ptr[Spot]:
    """The spot of a place, or the unused one to put it into."""
    at = ((pc >> 1) * 0x9E37_79B9_7F4A_7C15 ^ (host >> 12) * 0xC2B2_AE3D_27D4_EB4F) >> 40 & (SPOTS - 1)
    while w.spots[at].pc != NO_PC and (w.spots[at].pc != pc or w.spots[at].host != host):
        at = (at + 1) & (SPOTS - 1)
    return w.spots[at]


@fn
def tell(w: Watch, kind: u64, hart: u64, pc: u64, host: u64, about: u64, count: u64) -> None:
    """An event, unless there are too many: what matters happens again."""
    w.quiet = 0
    if w.event_count < EVENTS:
        e = w.events[w.event_count]
        e.kind = kind
        e.hart = hart
        e.pc = pc
        e.host = host
        e.about = about
        e.count = count
        w.event_count += 1


@fn
def count(w: Watch, hart: u64, s: Sample) -> None:
    """Count one sample."""
    weight = w.interval
    if weight > LONGEST:  # it slept
        weight = w.period
    w.samples += weight
    if s.about & ABOUT_IN_REGION != 0:
        w.region_samples += weight
    if s.about & 3 == USER:
        w.user_samples += weight
    if s.about & 3 == MACHINE:
        w.machine_samples += weight
    if s.host == 0 or s.about & ABOUT_ENTRY != 0:
        return
    spot = spot_of(w, s.pc, s.host)
    if spot.pc == NO_PC:
        if w.used >= SPOTS_FULL:
            clear_spots(w)
            spot = spot_of(w, s.pc, s.host)
        w.used += 1
        spot.pc = s.pc
        spot.host = s.host
        spot.count = 0
        spot.hot = u32(w.hot)
        spot.state = UNKNOWN
    elif spot.state == UNKNOWN and w.tells_new != 0:  # where a hart is found once, it may never be again
        spot.state = TOLD
        tell(w, NEW_SPOT, hart, s.pc, s.host, s.about & 3, u64(spot.count))
    spot.about = s.about & 3
    spot.count += u32(weight)
    if spot.state == HAVE:
        tell(w, KNOWN_SPOT, hart, s.pc, s.host, spot.about, u64(spot.count))
    elif spot.state != NEVER and spot.count >= spot.hot:
        spot.hot = spot.count * 2
        tell(w, HOT_SPOT, hart, s.pc, s.host, spot.about, u64(spot.count))


@fn
def collect(w: Watch, i: u64) -> None:
    """Take what hart number `i` has noted and done."""
    o = hart_cache(w, i).optimizing
    there = atomic_load(o.sampled)
    while o.taken != there:
        count(w, i, o.samples[o.taken & (SAMPLES - 1)])
        o.taken += 1
    opened = atomic_load(o.opened)
    while o.reported != opened and w.event_count < EVENTS:
        mail = o.mails[o.reported & (MAILS - 1)]
        tell(w, MAIL_OPENED, i, mail.pc, mail.image, mail.result, 0)
        o.reported += 1
    state = atomic_load(o.request_state)
    if state > IN_WORK and w.event_count < EVENTS:
        tell(w, REQUEST_DONE, i, o.request_pc, o.request_host, u64(state), 0)
        atomic_store(o.request_state, IDLE)


@fn
def kick(w: Watch, i: u64, what: u32) -> None:
    """Ask hart number `i` for something at its next poll point."""
    c = hart_cache(w, i)
    atomic_or(c.optimizing.asked, what)
    atomic_or(cast(Hart, c.hart).poll, POLL_ENGINE)


@fn
def look(w: Watch) -> bool:
    """One round. True if a hart runs."""
    awake = False
    for i in range(w.harts):
        collect(w, i)
        c = hart_cache(w, i)
        if not asleep(cast(Hart, c.hart)):
            awake = True
            what: u32 = ASKED_SAMPLE
            if atomic_load(c.optimizing.request_state) == ASKED:
                what |= ASKED_REQUEST
            kick(w, i, what)
        if atomic_load(c.optimizing.request_state) == ASKED:
            c.optimizing.request_age += 1
            if c.optimizing.request_age > PATIENCE:
                atomic_cas(c.optimizing.request_state, ASKED, REFUSED)
    return awake


@fn(export=True)
def watch(w: Watch, fds: u64, fd_count: u64, limit: u64) -> bool:
    """Watch for up to `limit` milliseconds, until there is something to tell: events, or (True) something at `fds`."""
    w.event_count = 0
    w.since = 0
    passed: u64 = 0
    while passed < limit:
        if pause(fds, fd_count, u32(w.interval)):
            return True
        passed += w.interval
        if look(w):
            w.rounds += 1
            w.quiet += 1
            w.interval = w.period
            if w.rounds > BEGINNING:
                w.interval += 1 + w.quiet // QUIET
            w.interval = min(w.interval, u64(LONGEST))
        elif w.interval < IDLE_INTERVAL:
            w.interval = min(w.interval * 2, u64(IDLE_INTERVAL))
        if w.event_count != 0:
            w.since += w.interval
            if w.since >= LATEST or w.event_count > EVENTS // 2:
                return False
    return False


@fn(export=True)
def mail(w: Watch, hart: u64, image: u64, size: u64, pc: u64, mode: u64) -> bool:
    """Ask a hart to install an image, which must stay where it is until MAIL_OPENED tells. False: its box is full."""
    o = hart_cache(w, hart).optimizing
    if o.mailed - o.reported >= MAILS:
        return False
    one = o.mails[o.mailed & (MAILS - 1)]
    one.image = image
    one.size = size
    one.pc = pc
    one.mode = mode
    one.result = WAITING
    atomic_store(o.mailed, o.mailed + 1)
    kick(w, hart, ASKED_MAIL)
    return True


@fn(export=True)
def request(w: Watch, hart: u64, place: u64, pc: u64, host: u64, mode: u64) -> bool:
    """Ask a hart to describe the code at pc, as a Description at `place`; REQUEST_DONE follows. False: it is busy."""
    o = hart_cache(w, hart).optimizing
    if atomic_load(o.request_state) != IDLE:
        return False
    o.request_place = place
    o.request_pc = pc
    o.request_host = host
    o.request_mode = mode
    o.request_age = 0
    atomic_store(o.request_state, ASKED)
    kick(w, hart, ASKED_REQUEST)
    return True


@fn(export=True)
def set_state(w: Watch, pc: u64, host: u64, state: u64, hot: u64) -> None:
    """What is known of a place: HAVE, and every further sample is told; NEVER, and none is; else from `hot` on."""
    spot = spot_of(w, pc, host)
    if spot.pc != NO_PC:
        spot.state = state
        spot.hot = u32(hot)


@fn(export=True)
def watch_statistic(w: Watch, what: u64) -> u64:
    """Counters, summed over the harts; manager.STATISTICS names them in this order."""
    if what == 0:
        return w.samples
    if what == 1:
        return w.region_samples
    if what == 2:
        return w.user_samples
    if what == 3:
        return w.machine_samples
    total: u64 = 0
    for i in range(w.harts):
        o = hart_cache(w, i).optimizing
        if what == 4:
            total += o.installed
        elif what == 5:
            total += o.discarded
        elif what == 6:
            total += o.refreshed
        elif what == 7:
            total += o.fills
        else:
            total += o.steps
    return total

