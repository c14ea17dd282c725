"""Binary layouts shared by Python and generated code: where each member lies. No types of the subset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from popek.base.words import align_up


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of one member inside a record, in bytes."""

    offset: int
    size: int
    align: int


@dataclass(frozen=True, slots=True)
class Record:
    """A laid-out record: its members' places, its size and alignment, in bytes."""

    slots: Mapping[str, Slot]
    size: int
    align: int


def lay_out(members: Iterable[tuple[str, int, int]]) -> Record:
    """Natural C layout of `members` (name, size, alignment): each at the next multiple of its alignment."""
    slots: dict[str, Slot] = {}
    end, widest = 0, 1
    for name, size, align in members:
        start = align_up(end, align)
        slots[name] = Slot(start, size, align)
        end = start + size
        widest = max(widest, align)
    return Record(slots, align_up(end, widest), widest)
