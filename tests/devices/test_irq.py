"""PLIC and CLINT. RISC-V PLIC Specification 1.0, chapters "Interrupt Flow" and "Memory Map"; ACLINT Specification."""

from hypothesis import given, settings
from hypothesis import strategies as st

from popek.isa.hart import MEIP, MSIP, SEIP
from tests.devices.chips import Board

PLIC, CLINT = 0xC00_0000, 0x200_0000
SOURCES = (1, 31, 32, 64, 95)


def enable(context: int) -> int:
    return PLIC + 0x2000 + 0x80 * context


def threshold(context: int) -> int:
    return PLIC + 0x20_0000 + 0x1000 * context


def claim(context: int) -> int:
    return threshold(context) + 4


def ready(board: Board, context: int, *sources: int) -> None:
    for source in sources:
        board.write(PLIC + 4 * source, 1)
        word = enable(context) + 4 * (source >> 5)
        board.write(word, board.read(word) | 1 << (source & 31))


def test_a_level_goes_up_is_claimed_and_completed():
    board = Board()
    ready(board, 1, 5)
    board.source(5, 1)
    assert board.mip == [SEIP, 0]
    assert board.read(PLIC + 0x1000) == 1 << 5
    assert board.read(claim(1)) == 5
    assert (board.mip, board.read(PLIC + 0x1000), board.read(claim(1))) == ([0, 0], 0, 0)
    board.source(5, 0)
    board.write(claim(1), 5)
    assert board.mip == [0, 0]


def test_a_level_that_stays_up_asks_again_after_completion():
    board = Board()
    ready(board, 1, 5)
    board.source(5, 1)
    assert board.read(claim(1)) == 5
    board.write(claim(1), 5)
    assert board.mip[0] == SEIP
    assert board.read(claim(1)) == 5


def test_a_level_that_falls_before_the_claim_is_forgotten():
    board = Board()
    ready(board, 1, 5)
    board.source(5, 1)
    board.source(5, 0)
    assert (board.mip[0], board.read(claim(1))) == (0, 0)


def test_contexts_are_machine_and_supervisor_of_each_hart():
    board = Board()
    for context in range(4):
        ready(board, context, 3)
    board.source(3, 1)
    assert board.mip == [MEIP | SEIP, MEIP | SEIP]
    assert board.read(claim(2)) == 3
    assert board.mip == [0, 0]


def test_priorities_thresholds_and_ties():
    board = Board()
    ready(board, 0, 1, 2, 40, 95)
    board.write(PLIC + 4 * 40, 7)
    for source in (95, 40, 2, 1):
        board.source(source, 1)
    assert [board.read(claim(0)) for _ in range(5)] == [40, 1, 2, 95, 0]
    for source in (40, 1, 2, 95):
        board.write(claim(0), source)
    board.write(threshold(0), 1)
    assert [board.read(claim(0)) for _ in range(2)] == [40, 0]
    board.write(threshold(0), 7)
    assert board.mip[0] == 0


def test_priority_zero_never_interrupts():
    board = Board()
    ready(board, 0, 1)
    board.write(PLIC + 4, 0)
    board.source(1, 1)
    assert board.mip[0] == 0


def test_completion_of_a_source_that_is_not_enabled_is_ignored():
    board = Board()
    ready(board, 1, 5)
    board.source(5, 1)
    assert board.read(claim(1)) == 5
    board.write(claim(3), 5)
    assert board.mip == [0, 0]
    for nonsense in (0, 96, 1000, 0xFFFF_FFFF):
        board.write(claim(1), nonsense)
    assert board.mip == [0, 0]
    board.write(claim(1), 5)
    assert board.mip == [SEIP, 0]


def test_disabling_takes_the_line_back():
    board = Board()
    ready(board, 1, 5)
    board.source(5, 1)
    board.write(enable(1), 0)
    assert board.mip[0] == 0


def test_registers_keep_what_they_can():
    board = Board()
    for address, written, read in (
        (PLIC, 7, 0), (PLIC + 4, 0xFF, 7), (PLIC + 4 * 96, 1, 0), (enable(0), 0xFFFF_FFFF, 0xFFFF_FFFE),
        (enable(0) + 8, 0xFFFF_FFFF, 0xFFFF_FFFF), (enable(0) + 12, 1, 0), (enable(4), 2, 0), (threshold(0), 0x1F, 7),
        (threshold(4), 7, 0), (PLIC + 0x1000, 0xFF, 0), (PLIC + 0x1F_F000, 1, 0), (threshold(0) + 8, 1, 0),
    ):  # fmt: skip
        board.write(address, written)
        assert board.read(address) == read, hex(address)


def test_sources_that_do_not_exist():
    board = Board()
    for source in (0, 96, 1 << 40):
        board.source(source, 1)
    assert board.mip == [0, 0]


def test_clint_registers():
    board = Board()
    board.write(CLINT + 4, 0xFFFF_FFFF)
    assert (board.mip, board.read(CLINT + 4), board.read(CLINT)) == ([0, MSIP], 1, 0)
    board.write(CLINT + 4, 0xFFFF_FFFE)
    assert board.mip == [0, 0]
    board.write(CLINT + 0x4008, 0x1234_5678_9ABC_DEF0, 8)
    board.write(CLINT + 0x400C, 0xAAAA_BBBB)
    assert board.deadlines[1] == 0xAAAA_BBBB_9ABC_DEF0
    assert board.read(CLINT + 0x4008) == 0x9ABC_DEF0
    board.time = 0x1_0000_0005
    assert (board.read(CLINT + 0xBFF8, 8), board.read(CLINT + 0xBFFC)) == (0x1_0000_0005, 1)
    board.write(CLINT + 0xBFF8, 77)
    assert board.time == 0x1_0000_004D
    for harts_that_are_not in (CLINT + 8, CLINT + 0x4010):
        board.write(harts_that_are_not, 1)
        assert board.read(harts_that_are_not) == 0
    assert board.faults(CLINT + 0xC000)


class Model:
    """The specification's flow for one source at one context."""

    def __init__(self) -> None:
        self.level = self.pending = self.claimed = False

    def gateway(self) -> None:
        self.pending = self.pending or (self.level and not self.claimed)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["up", "down", "claim", "complete"]), st.sampled_from(SOURCES)), max_size=40))
def test_any_history_agrees_with_the_flow_chart(history):
    board = Board()
    ready(board, 1, *SOURCES)
    models = {source: Model() for source in SOURCES}
    for what, source in history:
        model = models[source]
        if what == "up":
            board.source(source, 1)
            model.level = True
        elif what == "down":
            board.source(source, 0)
            model.level = model.pending = False
        elif what == "claim":
            best = min((s for s, m in models.items() if m.pending), default=0)
            assert board.read(claim(1)) == best
            if best:
                models[best].pending, models[best].claimed = False, True
        else:
            board.write(claim(1), source)
            model.claimed = False
        for one in models.values():
            one.gateway()
        assert bool(board.mip[0]) == any(m.pending for m in models.values())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 0x60_0000 - 4), st.integers(0, (1 << 32) - 1)), max_size=30))
def test_no_access_does_harm(accesses):
    board = Board()
    for write, offset, value in accesses:
        address = PLIC + (offset & ~3)
        if write:
            board.write(address, value)
        else:
            assert 0 <= board.read(address) < 1 << 32
        board.source(value % 100, value >> 31)
