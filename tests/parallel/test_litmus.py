"""No engine shows an outcome that the memory model forbids. POPEK_LITMUS_ROUNDS sets how often each shape runs."""

from __future__ import annotations

import os

import pytest

from tests.parallel.harness import histogram
from tests.parallel.shapes import SHAPES

ROUNDS = int(os.environ.get("POPEK_LITMUS_ROUNDS", "1500"))
ENGINES = tuple(os.environ.get("POPEK_LITMUS_ENGINES", "template,optimizing,step").split(","))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_forbidden_outcomes_are_never_seen(tmp_path, shape, engine):
    rounds = ROUNDS if len(shape.bodies) <= 2 else max(ROUNDS // 10, 50)
    seen = histogram(tmp_path, shape, rounds, engine)
    assert seen.total() == rounds, "the harts hung"
    assert not {outcome: n for outcome, n in seen.items() if shape.forbidden(*outcome)}
