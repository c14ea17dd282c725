"""Zawrs: wait for a store to a reserved address. Unprivileged ISA, "Zawrs Extension for Wait-on-Reservation-Set
instructions".

Both may end for any reason at any time; here they end at once, having let other harts run. So a wait is always bounded,
and mstatus.TW has nothing to forbid.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.isa.op import op
from popek.isa.ports import spins


@op("000000001101 00000 000 00000 1110011", "wrs.nto", kind="hint")
def wrs_nto(h: Hart) -> None:
    spins(h)


@op("000000011101 00000 000 00000 1110011", "wrs.sto", kind="hint")
def wrs_sto(h: Hart) -> None:
    spins(h)
