"""What instructions ask of the world outside the hart.

Declarations only: whoever composes a machine chooses the bodies.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.lang import port, u32, u64

# Flags of tlb_flush: which of its arguments narrow the flush.
FLUSH_BY_ADDRESS = 1
FLUSH_BY_ASID = 2


@port(raises=True)
def mmio_read(h: Hart, paddr: u64, size: u32) -> u64:
    """Read a physical address outside RAM (naturally aligned). Any Trap means: nothing there."""


@port(raises=True)
def mmio_write(h: Hart, paddr: u64, size: u32, value: u64) -> None:
    """Write a physical address outside RAM (naturally aligned). Any Trap means: nothing there."""


@port
def tlb_flush(h: Hart, vaddr: u64, asid: u64, flags: u64) -> None:
    """Forget translations (sfence.vma, sinval.vma)."""


@port
def tlb_regime_changed(h: Hart) -> None:
    """Mode, satp, mstatus.MPRV/MPP/SUM/MXR, menvcfg or PMP changed: accesses may translate differently."""


@port
def pmp_changed(h: Hart) -> None:
    """PMP or menvcfg.ADUE, PBMTE changed: no translation kept may be used, in any regime (and tlb_regime_changed)."""


@port
def code_modified(h: Hart, paddr: u64) -> None:
    """A RAM page marked in Board.code_map was written: at most 8 bytes from `paddr` on, within the page."""


@port
def fence_i(h: Hart) -> None:
    """The guest executed fence.i: translated code must agree with memory from here on."""


@port
def read_time(h: Hart) -> u64:
    """The platform timer (mtime)."""


@port
def timer_changed(h: Hart) -> None:
    """stimecmp or menvcfg.STCE changed: the deadline at which the hart must be looked at is another one."""


@port
def wait_for_interrupt(h: Hart) -> None:
    """WFI: sleep while no enabled interrupt is pending (privileged.wakes). May return at any time."""


@port(raises=True)
def vector(h: Hart, word: u32) -> None:
    """Execute a vector instruction: everything but moving the pc. mstatus.VS is not Off."""


@port(raises=True)
def element_load(h: Hart, addr: u64, size: u64) -> u64:
    """Load 1, 2, 4 or 8 bytes for a vector instruction."""
    ...


@port(raises=True)
def element_store(h: Hart, addr: u64, size: u64, value: u64) -> None:
    """Store 1, 2, 4 or 8 bytes for a vector instruction."""


@port
def element_view(h: Hart, addr: u64, writing: bool) -> u64:
    """Host address of a guest address if its page may be accessed there, for as long as one instruction lasts; or 0."""
    ...


@port
def spins(h: Hart) -> None:
    """PAUSE: the hart looks again and again for something that another hart does. A hint: time to let that one run."""
    ...
