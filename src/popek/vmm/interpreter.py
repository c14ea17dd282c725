"""The interpreter: simulates one privileged instruction that trapped because the monitor keeps its resource to itself.

mstatus.TVM, TW and TSR make sensitive instructions of supervisor software trap (Privileged ISA, "Virtualization
Support in mstatus Register"). The instruction is then executed here, from its one definition in isa, as if the trap
were not armed; whatever it asks of the machine (sleep, translation) comes to the allocator through isa's ports.
"""
from __future__ import annotations

from popek.isa.hart import SUPERVISOR, TSR, TVM, TW, Hart
from popek.isa.memory import fetch
from popek.isa.op import KINDS
from popek.isa.table import decode, execute
from popek.lang import Trap, cast, fn
from popek.vmm.stops import STOP_SIMULATED
from popek.vmm.vm import VM

ARMED = TVM | TW | TSR
CSR, SYSTEM = KINDS.index("csr"), KINDS.index("system")


@fn
def simulate(h: Hart) -> bool:
    """Execute the instruction at h.pc, which trapped as illegal. False: it is illegal indeed; nothing has changed."""
    armed = h.mstatus & ARMED
    if h.mode != SUPERVISOR or armed == 0:
        return False
    s = cast(VM, h.vm).hart[h.hartid]
    done = False
    cause, tval = h.trap_cause, h.trap_tval
    try:
        decode(fetch(h, h.pc), s.decoded)
        if s.decoded.flags == CSR or s.decoded.flags == SYSTEM:
            h.mstatus = h.mstatus & ~ARMED
            execute(h, s.decoded)
            done = True
    except Trap:
        h.trap_cause = cause
        h.trap_tval = tval
    h.mstatus = h.mstatus | armed
    if done:
        h.instret += 1
        s.stops[STOP_SIMULATED] += 1
    return done
