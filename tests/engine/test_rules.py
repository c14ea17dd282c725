"""The plan of templates: what the translator will look for is there."""

from __future__ import annotations

import dataclasses

import pytest

from popek.engine.template import rules
from popek.engine.template.layout import Flag, Kind
from popek.isa.table import IDS, OPS


def test_every_shape_has_a_text() -> None:
    plan = rules.plan(list(OPS), set())
    assert len(plan.rules) == len(OPS) + 1
    for op, (kind, pins, flags, shapes, table) in zip(OPS, plan.rules[1:], strict=True):
        assert all(name in plan.texts for name in (*shapes, *table) if name), op.name
        if kind == Kind.PLAIN and op.name not in rules.FROM_CONSTANTS:
            operands = sum(bool(flags & f) for f in (Flag.RD, Flag.RS1, Flag.RS2))
            assert len(shapes) == (pins + 1) ** operands * (2 if flags & Flag.RM else 1), op.name
        assert bool(table) == bool(flags & Flag.MEMORY and kind == Kind.PLAIN), op.name
    for members in rules.families().values():
        assert all(name in plan.texts for name in members if name)


@pytest.mark.parametrize("parameter", ["pc", "next_pc"])
def test_what_nothing_fills_in_goes_the_long_way(parameter: str) -> None:
    add = OPS[IDS["add"] - 1]
    assert rules.has_template(add)
    assert not rules.has_template(dataclasses.replace(add, parameters=("rs1", parameter)))
