"""Goldfish RTC and the test finisher."""

import pytest

from popek.isa.hart import SEIP
from tests.devices.chips import Board

RTC, SYSCON, PLIC = 0x10_1000, 0x10_0000, 0xC00_0000
LOW, HIGH, ALARM_LOW, ALARM_HIGH, ENABLED, CLEAR_ALARM, STATUS, CLEAR = range(0, 32, 4)
NEVER = (1 << 64) - 1


def clock(board: Board) -> int:
    low = board.read(RTC + LOW)
    board.wall += 1 << 33  # the high half belongs to the low one read before
    high = board.read(RTC + HIGH)
    board.wall -= 1 << 33
    return high << 32 | low


def test_time_is_read_in_two_halves_that_match():
    board = Board()
    assert clock(board) == board.wall


def test_time_can_be_set():
    board = Board()
    board.write(RTC + HIGH, 5)
    board.write(RTC + LOW, 6)
    assert clock(board) == 5 << 32 | 6
    board.wall += 1000
    assert clock(board) == (5 << 32 | 6) + 1000


def test_alarm():
    board = Board()
    board.write(PLIC + 44, 1)
    board.write(PLIC + 0x2080, 1 << 11)
    board.time = 500
    moment = board.wall + 1000
    board.write(RTC + ALARM_HIGH, moment >> 32)
    board.write(RTC + ALARM_LOW, moment & 0xFFFF_FFFF)
    board.write(RTC + ENABLED, 1)
    assert board.watched == [511]
    assert (board.read(RTC + STATUS), board.tick(), board.mip[0]) == (1, 511, 0)
    board.time = 511
    assert (board.tick(), board.mip[0], board.read(RTC + STATUS)) == (NEVER, SEIP, 0)
    board.write(RTC + CLEAR, 1)
    assert board.mip[0] == 0
    assert board.read(RTC + ALARM_HIGH) << 32 | board.read(RTC + ALARM_LOW) == moment


def test_an_alarm_in_the_past_rings_at_once_and_can_be_cancelled():
    board = Board()
    board.time = 7
    board.write(RTC + ALARM_LOW, 1)
    assert board.watched == [7]
    board.write(RTC + CLEAR_ALARM, 0)
    assert board.tick() == NEVER
    assert board.chips.rtc.pending == 0


@pytest.mark.parametrize(
    ("value", "ended"),
    [
        (0x5555, [(1, 0)]),
        (0x7777, [(2, 0)]),
        (0x3333, [(3, 0)]),
        (0x2A_3333, [(3, 42)]),
        (0xFFFF_3333, [(3, 0xFFFF)]),
        (0, []),
        (1, []),
        (0x5556, []),
    ],
)
def test_finisher(value, ended):
    board = Board()
    board.write(SYSCON, value)
    assert (board.ended, board.read(SYSCON)) == (ended, 0)


def test_finisher_has_one_register():
    board = Board()
    board.write(SYSCON + 4, 0x5555)
    assert board.ended == []


def test_nothing_between_the_devices():
    board = Board()
    for address in (0, 0xF_FFFC, 0x10_2000, 0x200_0000 - 4, 0xC60_0000, 0x1000_1000):
        assert board.faults(address)
