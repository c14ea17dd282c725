"""The state of one hart, and what its instructions need to know of the board around it. No behaviour but reset."""
from __future__ import annotations

from popek.lang import Array, Opaque, Ptr, fn, struct, u8, u32, u64

# Privilege modes: Privileged ISA, "Privilege Levels".
USER, SUPERVISOR, MACHINE = 0, 1, 3

# Exception causes: Privileged ISA, "Machine Cause (mcause) Register".
INSTRUCTION_MISALIGNED = 0
INSTRUCTION_ACCESS_FAULT = 1
ILLEGAL_INSTRUCTION = 2
BREAKPOINT = 3
LOAD_MISALIGNED = 4
LOAD_ACCESS_FAULT = 5
STORE_MISALIGNED = 6
STORE_ACCESS_FAULT = 7
ECALL_FROM_USER = 8
ECALL_FROM_SUPERVISOR = 9
ECALL_FROM_MACHINE = 11
INSTRUCTION_PAGE_FAULT = 12
LOAD_PAGE_FAULT = 13
STORE_PAGE_FAULT = 15

INTERRUPT = 1 << 63        # set in a cause that is an interrupt
NO_INTERRUPT = (1 << 64) - 1

# Interrupt numbers, and their bits in mip and mie.
S_SOFTWARE, M_SOFTWARE, S_TIMER, M_TIMER, S_EXTERNAL, M_EXTERNAL = 1, 3, 5, 7, 9, 11
SSIP, MSIP, STIP, MTIP, SEIP, MEIP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 9, 1 << 11

# mstatus: Privileged ISA, "Machine Status (mstatus) Register".
SIE, MIE, SPIE, MPIE, SPP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8
MPP, MPP_SHIFT = 3 << 11, 11
FS, FS_SHIFT = 3 << 13, 13
VS, VS_SHIFT = 3 << 9, 9
MPRV, SUM, MXR, TVM, TW, TSR = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22
UXL_64, SXL_64 = 2 << 32, 2 << 34
SD = 1 << 63

# menvcfg and senvcfg.
FIOM, CBIE, CBCFE, CBZE, ADUE, PBMTE, STCE = 1 << 0, 3 << 4, 1 << 6, 1 << 7, 1 << 61, 1 << 62, 1 << 63

# Bits of Hart.poll. Anyone may set them; the hart's engine clears what it has looked after.
POLL_INTERRUPT = 1         # an interrupt may have become pending: ask privileged.poll_interrupts
POLL_STOP = 2              # the monitor wants the hart (and every higher bit is the monitor's)

VILL = 1 << 63            # of vtype: Unprivileged ISA, "Vector Type Illegal (`vill`)"

PMP_ENTRIES = 16
VERSIONS = 4096            # of reservation sets (isa/reservation)


@struct
class Board:
    """The machine around the harts, as far as instructions see it."""

    ram: u64               # host address of guest RAM
    ram_base: u64          # guest-physical address of RAM
    ram_size: u64          # bytes
    code_map: u64          # host address of one byte a RAM page: which harts hold translated code of it; 0 = unused
    shared: u64            # there is more than one hart
    versions: Array[u64, VERSIONS]


@struct
class Hart:
    """Architectural state first, then what the monitor and the engines keep beside it."""

    pc: u64
    x: Array[u64, 32]
    f: Array[u64, 32]
    mode: u32
    fflags: u32
    frm: u32
    poll: u32              # nonzero: leave generated code at the next poll point
    trap_cause: u64        # written by `raise Trap(cause, tval)`
    trap_tval: u64
    board: Ptr[Board]
    vm: Ptr[Opaque]
    hartid: u64

    # Machine level
    mstatus: u64           # UXL and SXL always 2, SD computed when read
    mie: u64
    mip: u64               # lines driven from outside and SSIP: atomic
    seip_software: u64     # the software-writable half of mip.SEIP, at its bit position
    medeleg: u64
    mideleg: u64
    mtvec: u64
    mepc: u64
    mcause: u64
    mtval: u64
    mscratch: u64
    mcounteren: u64
    mcountinhibit: u64
    menvcfg: u64

    # Supervisor level
    stvec: u64
    sepc: u64
    scause: u64
    stval: u64
    sscratch: u64
    scounteren: u64
    senvcfg: u64
    satp: u64
    stimecmp: u64

    # Physical memory protection
    pmp_used: u64          # entries to look at: the number of the last one that is not OFF, plus one
    pmp_locked: u64        # an entry in use is locked, so that machine mode is checked too
    pmpcfg: Array[u8, PMP_ENTRIES]
    pmpaddr: Array[u64, PMP_ENTRIES]

    # Counters: a counter is `instret` plus its offset; while inhibited, the "offset" is the frozen value itself
    instret: u64           # instructions retired since the start, whatever the guest writes
    minstret_offset: u64
    mcycle_offset: u64

    reservation_addr: u64  # virtual address | 1 (word) or 2 (doubleword) of the last LR; 0 = none
    reservation_value: u64

    # Not architectural
    reservation_version: u64  # of the reservation set, when LR loaded (isa/reservation)
    walk_level: u64        # of the last translation: 0 for a 4 KiB page or none, or a superpage's level (for TLBs)
    walk_global: u64       # of the last translation: its leaf, or what led there, was global (PTE.G)
    walk_inside: u64       # of the last walk: the size of its leaf, minus one
    tlb: u64               # host address of the current data TLB (engine/tlb)
    scratch: u64
    engine: Array[u64, 16]

    # Vectors (isa/v); the registers are at `vector`
    vl: u64
    vtype: u64
    vstart: u64
    vxrm: u32
    vxsat: u32
    vector: u64            # host address of the vector registers and what belongs to them; 0: there are none


@fn
def reset(h: Hart) -> None:
    """Privileged ISA, "Reset": M-mode, everything the standard leaves open is zero. pc, hartid, board stay."""
    h.mode = MACHINE
    h.mstatus = UXL_64 | SXL_64
    h.mie = 0
    h.seip_software = 0
    h.medeleg = 0
    h.mideleg = 0
    h.mtvec = 0
    h.mcause = 0
    h.mcounteren = 0
    h.mcountinhibit = 0
    h.menvcfg = 0
    h.scounteren = 0
    h.senvcfg = 0
    h.satp = 0
    h.stimecmp = NO_INTERRUPT
    h.pmp_used = 0
    h.pmp_locked = 0
    for i in range(PMP_ENTRIES):
        h.pmpcfg[i] = 0
        h.pmpaddr[i] = 0
    h.reservation_addr = 0
    if h.hartid != 0:
        h.board.shared = 1
    h.vl = 0
    h.vtype = VILL
    h.vstart = 0
