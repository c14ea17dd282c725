"""The monitor rule by rule: deadlines, waking, fences, states. As plain Python: tests choose interleavings."""

from pathlib import Path

import pytest

from popek.abi import sbi
from popek.isa import interrupts
from popek.isa.hart import MTIP, SSIP, STIP, SUPERVISOR
from popek.vmm import allocator, dispatcher, fences, services, stops, timers
from popek.vmm.vm import (
    FENCES,
    NEVER,
    POLL_ENGINE,
    POLL_FENCE,
    POLL_STATE,
    POLL_STOP,
    START_PENDING,
    STARTED,
    STOPPED,
)
from tests.vmm.plain import Monitor, Slept


def listening(monitor: Monitor, i: int = 0):
    """A hart that runs and wants timer and software interrupts."""
    h = monitor.start(i)
    h.poll = 0
    h.mie = STIP | SSIP | MTIP
    return h


# -- waiting --


def test_a_wait_ends_at_the_deadline():
    monitor = Monitor()
    h = listening(monitor)
    h.stimecmp = monitor.time + 50
    with pytest.raises(Slept) as slept:
        monitor[allocator.wait_for_interrupt](h)
    assert slept.value.until == monitor.nanoseconds + 5000


def test_a_wait_without_deadline_is_endless():
    monitor = Monitor()
    h = listening(monitor)
    with pytest.raises(Slept) as slept:
        monitor[allocator.wait_for_interrupt](h)
    assert slept.value.until == NEVER


def test_a_deadline_that_nobody_has_noticed_yet_ends_the_wait_at_once():
    """The timer thread may be late; a hart that then slept without a deadline would sleep for ever."""
    monitor = Monitor()
    h = listening(monitor)
    monitor.nanoseconds += 10_000
    h.stimecmp = monitor.time - 1
    assert h.mip & STIP == 0
    monitor[allocator.wait_for_interrupt](h)
    assert h.mip & STIP


def test_a_machine_deadline_counts_too():
    monitor = Monitor(supervisor=False)
    h = listening(monitor)
    monitor[timers.set_machine_deadline](h, 0, monitor.time + 7)
    with pytest.raises(Slept) as slept:
        monitor[allocator.wait_for_interrupt](h)
    assert slept.value.until == monitor.nanoseconds + 700
    monitor.nanoseconds += 700
    monitor[allocator.wait_for_interrupt](h)
    assert h.mip & MTIP
    monitor[timers.set_machine_deadline](h, 0, monitor.time + 1)
    assert h.mip & MTIP == 0


@pytest.mark.parametrize("bits", [POLL_STOP, POLL_STATE, POLL_FENCE])
def test_whatever_the_monitor_asks_ends_a_wait(bits):
    monitor = Monitor()
    h = listening(monitor)
    h.poll = bits
    monitor[allocator.wait_for_interrupt](h)


def test_an_interrupt_wakes_who_sleeps_and_only_then():
    monitor = Monitor()
    h = listening(monitor)
    monitor[allocator.drive](monitor.vm, 0, SSIP, 1)
    assert monitor.woken == []
    h.mip = 0
    with pytest.raises(Slept):
        monitor[allocator.wait_for_interrupt](h)
    state = monitor.vm.hart[0]
    assert state.waiter.asleep and state.sleeping
    monitor[allocator.drive](monitor.vm, 0, SSIP, 0)
    assert monitor.woken == []
    monitor[allocator.drive](monitor.vm, 0, SSIP, 1)
    assert monitor.woken == [state.waiter]


# -- deadlines and the timer thread --


def test_the_timer_thread_raises_what_is_due_and_finds_the_next():
    monitor = Monitor()
    first, second = listening(monitor, 0), listening(monitor, 1)
    first.stimecmp, second.stimecmp = monitor.time + 10, monitor.time + 20
    assert monitor[timers.look](monitor.vm) == first.stimecmp
    monitor.nanoseconds += 1000
    assert monitor[timers.look](monitor.vm) == second.stimecmp
    assert (first.mip & STIP, second.mip & STIP) == (STIP, 0)
    monitor.nanoseconds += 1000
    assert monitor[timers.look](monitor.vm) == NEVER


def test_only_an_earlier_deadline_kicks_the_timer_thread():
    monitor = Monitor()
    h = listening(monitor)
    monitor.vm.next_look = monitor.time + 100
    monitor[interrupts.write_stimecmp](h, monitor.time + 200)
    assert monitor.woken == []
    monitor[interrupts.write_stimecmp](h, monitor.time + 99)
    assert monitor.woken == [monitor.vm.timer]


class Ticking(Monitor):
    """Its clock goes on whenever somebody looks at it."""

    _nanoseconds = 0

    @property
    def nanoseconds(self):
        self._nanoseconds += timers.TICK
        return self._nanoseconds

    @nanoseconds.setter
    def nanoseconds(self, value):
        self._nanoseconds = value


@pytest.mark.parametrize("ticks", range(12))
def test_a_deadline_that_passes_while_it_is_written_is_noticed(ticks):
    """The clock goes on between the looks at it: whoever has the last one must see to it that somebody looks again."""
    monitor = Ticking()
    h = listening(monitor)
    monitor.vm.next_look = NEVER
    monitor.woken.clear()
    monitor[interrupts.write_stimecmp](h, monitor.time + ticks)
    assert h.mip & STIP or monitor.woken == [monitor.vm.timer]


def test_a_late_raise_does_not_hide_a_new_deadline():
    """The timer thread raises STIP for an old deadline just after the hart has set a new one."""
    monitor = Monitor()
    h = listening(monitor)
    monitor[interrupts.write_stimecmp](h, monitor.time + 1000)
    monitor[interrupts.raise_interrupt](h, STIP)
    assert monitor[timers.look](monitor.vm) == h.stimecmp
    assert monitor[interrupts.pending_interrupt](h) == NEVER  # the hint is checked against the clock
    assert h.mip & STIP == 0


def test_setting_the_time_settles_machine_timers():
    monitor = Monitor(supervisor=False)
    h = listening(monitor)
    monitor[timers.set_machine_deadline](h, 0, 1_000_000)
    monitor[timers.set_time](h, 1_000_000)
    assert h.mip & MTIP
    monitor[timers.set_time](h, 5)
    assert (h.mip & MTIP, monitor[timers.read_time](h)) == (0, 5)
    assert monitor.vm.timer in monitor.woken


def test_deadlines_out_of_reach_are_never():
    monitor = Monitor()
    for far in (NEVER, NEVER - 1, 1 << 63):
        assert monitor[timers.due](monitor.vm, far) == NEVER


# -- fences --


def test_a_running_hart_is_waited_for_and_serves():
    monitor = Monitor()
    caller, other = listening(monitor, 0), listening(monitor, 1)
    monitor.on_yield = lambda: monitor[dispatcher.poll](other)
    monitor[fences.remote](caller, 3, fences.TRANSLATIONS, 0x1000, 0x2000, 0)
    assert monitor.yields == 1
    assert monitor.flushed == [(0, 0x1000, 0, 1), (0, 0x2000, 0, 1), (1, 0x1000, 0, 1), (1, 0x2000, 0, 1)]
    assert other.poll & POLL_FENCE == 0


def test_a_sleeping_hart_is_not_waited_for_but_serves_before_it_runs():
    monitor = Monitor()
    caller, other = listening(monitor, 0), listening(monitor, 1)
    with pytest.raises(Slept):
        monitor[allocator.wait_for_interrupt](other)
    monitor[fences.remote](caller, 2, fences.TRANSLATIONS, 0, 0, 0)
    assert monitor.flushed == []
    monitor[allocator.wait_for_interrupt](other)  # ends: POLL_FENCE
    assert not monitor[dispatcher.poll](other)
    assert monitor.flushed == [(1, 0, 0, 0)]


def test_two_harts_that_fence_each_other_both_get_on():
    monitor = Monitor()
    first, second = listening(monitor, 0), listening(monitor, 1)

    def second_does_the_same() -> None:
        monitor.on_yield = None
        monitor[fences.remote](second, 1, fences.CODE, 0, 0, 0)  # first is inside its own wait

    def first_serves() -> None:
        monitor[fences.serve](first)

    monitor[fences.ask](monitor.vm, 0, fences.CODE, 0, 0, 0)
    monitor.on_yield = lambda: monitor[fences.serve](second)
    monitor[fences.remote](first, 2, fences.CODE, 0, 0, 0)
    assert monitor.vm.hart[0].fences_done == 1  # served while it waited
    assert monitor.vm.hart[1].fences_done == 1


def test_many_fences_become_one_for_everything():
    monitor = Monitor()
    h = listening(monitor, 1)
    for n in range(FENCES + 3):
        monitor[fences.ask](monitor.vm, 1, fences.TRANSLATIONS, n << 12, 4096, 0)
    monitor[fences.serve](h)
    assert monitor.flushed == [(1, 0, 0, 0)]
    state = monitor.vm.hart[1]
    assert (state.fence_count, state.fences_asked, state.fences_done) == (0, FENCES + 3, FENCES + 3)


@pytest.mark.parametrize(
    ("start", "size", "pages"),
    [
        (0x1000, 1, [0x1000]),
        (0x1FFF, 2, [0x1000, 0x2000]),
        (0x1800, 0x1000, [0x1000, 0x2000]),
        ((1 << 64) - 0x1000, 0x1000, [(1 << 64) - 0x1000]),
        (0x1000, 0, None),
        (0x1000, NEVER, None),
        (0, 65 << 12, None),
    ],
)
def test_ranges(start, size, pages):
    monitor = Monitor()
    h = listening(monitor)
    monitor[fences.forget](h, fences.TRANSLATIONS | fences.BY_ASID, start, size, 7)
    wanted = [(0, 0, 7, 2)] if pages is None else [(0, page, 7, 3) for page in pages]
    assert monitor.flushed == wanted


def test_a_fence_does_not_outlive_the_machine():
    monitor = Monitor()
    caller, _ = listening(monitor, 0), listening(monitor, 1)
    monitor.on_yield = lambda: monitor[allocator.finish](monitor.vm, 1, 0)
    monitor[fences.remote](caller, 2, fences.CODE, 0, 0, 0)


# -- states --


def test_start_before_the_thread_of_the_hart_ran():
    """Its thread finds the request at its first poll; from then on fences wait for it."""
    monitor = Monitor()
    caller, other = listening(monitor, 0), monitor.harts[1]
    assert monitor[services.hart_start](caller, 1, 0x8000_1000, 42)
    state = monitor.vm.hart[1]
    assert state.state == START_PENDING
    assert not monitor[services.hart_start](caller, 1, 0, 0)
    assert not monitor[dispatcher.poll](other)
    assert (state.state, state.sleeping) == (STARTED, 0)
    assert (other.pc, other.x[10], other.x[11], other.mode, other.satp) == (0x8000_1000, 1, 42, SUPERVISOR, 0)
    assert monitor.flushed == [(1, 0, 0, 0)]


def test_a_stopped_hart_parks_and_is_woken_to_start():
    monitor = Monitor()
    caller, other = listening(monitor, 0), listening(monitor, 1)
    monitor[services.hart_stop](other)
    with pytest.raises(Slept) as slept:
        monitor[dispatcher.poll](other)
    assert (slept.value.until, monitor.vm.hart[1].state) == (NEVER, STOPPED)
    assert monitor[services.hart_start](caller, 1, 0x8000_0000, 0)
    assert monitor.vm.hart[1].waiter in monitor.woken
    assert not monitor[dispatcher.poll](other)


def test_an_interrupt_does_not_start_a_stopped_hart():
    monitor = Monitor()
    listening(monitor, 0)
    other = monitor.harts[1]
    monitor[allocator.drive](monitor.vm, 1, SSIP, 1)
    with pytest.raises(Slept):
        monitor[dispatcher.poll](other)


def test_the_engines_poll_bit_is_left_alone():
    monitor = Monitor()
    h = listening(monitor)
    h.poll = POLL_ENGINE | POLL_FENCE | POLL_STATE
    assert not monitor[dispatcher.poll](h)
    assert h.poll == POLL_ENGINE


def test_the_first_end_counts_and_reaches_every_hart():
    monitor = Monitor()
    h = listening(monitor)
    monitor[allocator.finish](monitor.vm, 3, 9)
    monitor[allocator.finish](monitor.vm, 4, 0)
    assert (monitor.vm.outcome, monitor.vm.code) == (3, 9)
    assert all(one.poll & POLL_STOP for one in monitor.harts)
    assert monitor[dispatcher.poll](h)


# -- tables --


def test_every_counter_has_a_name():
    assert all(0 <= stop < stops.STOPS for stop in stops.STOP_NAMES)
    assert len(set(stops.STOP_NAMES.values())) == len(stops.STOP_NAMES)


def test_the_table_of_calls_is_consistent():
    assert len({(row.extension, row.function) for row in sbi.CALLS}) == len(sbi.CALLS)
    assert {row.result for row in sbi.CALLS} <= {"error", "value", "own", "legacy"}
    monitor = Monitor()
    for row in sbi.CALLS:
        assert monitor[sbi.known_extension](row.extension) == 1
    for absent in (0, 3, 0x11, 0x504D55, 0x53555350, NEVER):
        assert monitor[sbi.known_extension](absent) == 0


def test_the_documentation_lists_every_call():
    text = (Path(__file__).parents[2] / "docs" / "monitor.md").read_text()
    assert [row.name for row in sbi.CALLS if row.name not in text] == []
