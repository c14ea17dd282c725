"""SiFive test finisher, as a syscon: one register whose value ends the machine. In the typed subset."""
from __future__ import annotations

from popek.lang import Opaque, fn, port, u32, u64

PASS, FAILURE, RESET = 0x5555, 0x3333, 0x7777
ENDED_OFF, ENDED_RESET, ENDED_FAIL = 1, 2, 3


@port
def finished(owner: Opaque, outcome: u32, code: u64) -> None:
    """End the machine."""
    ...


@fn
def syscon_write(owner: Opaque, offset: u64, value: u32) -> None:
    """Write the register: what to do in the low half, an exit status in the high one. Anything else is ignored."""
    if offset != 0:
        return
    what = value & 0xFFFF
    if what == PASS:
        finished(owner, ENDED_OFF, 0)
    elif what == RESET:
        finished(owner, ENDED_RESET, 0)
    elif what == FAILURE:
        finished(owner, ENDED_FAIL, u64(value >> 16))
