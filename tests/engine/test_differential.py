"""The template engine does exactly what the reference does: random streams, and every stream that once differed.

More of the same, for as long as one likes: tools/fuzz.py.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from popek.isa.table import FORMS, OPS
from tests.engine import streams
from tests.engine.crowd import Crowd
from tests.engine.pair import Pair
from tests.engine.reduce import describe
from tests.engine.scaffold import Program

KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))
SEEDS = range(400)
SECONDS = 18  # of a busy machine: what is not done by then is not done
AT_LEAST = 60


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept(pair: Pair, path: Path) -> None:
    program = Program.from_json(path.read_text())
    found = pair.check(program)
    assert not found, describe(program, found)


def test_streams(pair: Pair) -> None:
    end = time.monotonic() + SECONDS
    for count, seed in enumerate(SEEDS):
        if count >= AT_LEAST and time.monotonic() > end:
            break
        program = streams.stream(seed)
        found = pair.check(program)
        assert not found, f"seed {seed}: {found[:10]}\nto make it small: python tools/fuzz.py --reduce --seed {seed}"


def test_harts_do_not_disturb_each_other() -> None:
    assert not Crowd(3).check([streams.stream(seed) for seed in range(2000, 2024)])


def test_streams_hold_every_instruction() -> None:
    seen: set[str] = set()
    for seed in range(40):
        seen |= streams.names(streams.stream(seed))
    everything = {op.name for op in OPS} | {form.mnemonic for form in FORMS}
    assert everything - seen <= {"sfence_inval_ir"} | set(sorted(everything - seen)[:3])
