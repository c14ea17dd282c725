"""Data shared by the template engine's parts: what one hart's code cache looks like in memory.

Lives here: structs, hole and relocation numbers, sizes. No behaviour.

Vocabulary. A *template* is machine code for one operation and operand shape, with *holes*. A *run* is straight-line
guest code translated in one go. A *site* names a guest instruction: page number << 11 | offset in the page / 2.
`seq` numbers the instructions of a run from 0: the count register holds (retired instructions - seq of the
instruction about to run), so that straight-line code does not count at all and every control transfer adds a constant.
"""

from popek.engine.tlb import Tlbs
from popek.isa.table import Decoded
from popek.lang import Array, Ptr, i32, struct, u8, u16, u32, u64

PINS = (15, 14, 10, 13, 2, 8)  # guest registers that live in host registers: a5 a4 a0 a3 sp s0
PINNED = len(PINS)
FETCH_REGIMES = 3  # U, S, M
JUMP_ENTRIES = 1024
FETCH_ENTRIES = 256
JUMP_PAGES = 1024
BUCKETS = 4096
CHANGES = 256  # writes to code that a hart may be told of at once
UNSETTLED = 256
PENDING = 2048
HALFWORDS = 2048

# Hart.engine[] words used by generated code
E_CACHE, E_JUMPS, E_SLOW, E_LINK, E_RESOLVE, E_SINK = 0, 1, 2, 3, 4, 5

# Holes
(
    H_RD,
    H_RS1,
    H_RS2,
    H_RS3,
    H_IMM,
    H_PC,
    H_SITE,
    H_COUNT,
    H_JUMP,
    H_VALUE,
    H_NEXT,
    H_TAKEN,
    H_SLOW,
    H_GLUE_SLOW,
    H_GLUE_LINK,
    H_GLUE_RESOLVE,
    H_LINK,
) = range(17)
H_SHAMT, H_CELL = 17, 18  # an immediate that LLVM knows to be small; the template's TLB cell
HOLES = (
    "rd",
    "rs1",
    "rs2",
    "rs3",
    "imm",
    "pc",
    "site",
    "count",
    "jump",
    "value",
    "next",
    "taken",
    "slow",
    "glue_slow",
    "glue_link",
    "glue_resolve",
    "link",
    "shamt",
    "cell",
)

# Relocation kinds
ABS32, ABS64, PC32, ABS8 = 0, 1, 2, 3

# Numbers that stubs hand over: a site, or with ACCESS an access, or with LINKED a link
ACCESS, LINKED = 1 << 30, 1 << 31

# Rule kinds: how the translator treats an operation
K_STEP, K_STEP_END, K_PLAIN, K_BRANCH, K_JUMP, K_JUMP_REGISTER = 0, 1, 2, 3, 4, 5
# Rule flags
F_RD, F_RS1, F_RS2, F_FRD, F_FRS1, F_FRS2, F_FRS3, F_PURE, F_COMMUTES, F_RM, F_MEMORY, F_TABLE_PINS = (
    1 << i for i in range(12)
)
# Fixed templates, by index
(
    T_STEP,
    T_LINK,
    T_LEAVE,
    T_GLUE_SLOW,
    T_GLUE_LINK,
    T_GLUE_RESOLVE,
    T_ENTER,
    T_GOTO,
    T_GOTO_BACK,
    T_FAR,
    T_FAR_BACK,
    T_JUMP,
) = range(12)
FIXED = (
    "step",
    "link",
    "leave",
    "glue_slow",
    "glue_link",
    "glue_resolve",
    "enter",
    "goto",
    "goto_back",
    "far",
    "far_back",
    "jump",
)


@struct
class Template:
    offset: u32
    size: u16
    relocations: u16
    first: u32


@struct
class Relocation:
    """A hole in a template's code: what to write, where, how."""

    offset: u16
    kind: u8
    hole: u8
    addend: i32


@struct
class Rule:
    """How one operation is translated. `base` indexes the shape table (u16 template numbers); `pins` is 0 when all its
    operands are in memory, else the number of pinned registers its shapes know. `table`: likewise the shapes
    that look into the TLB, for operations that access memory through a cell."""

    kind: u8
    pins: u8
    flags: u16
    base: u32
    table: u32


@struct
class Library:
    """The template library: read-only, shared by all harts. Addresses are host addresses."""

    code: u64
    templates: u64
    relocations: u64
    shapes: u64
    rules: u64
    pin_of: Array[u8, 32]
    li: u32  # first template of: load 32-bit constant, by destination shape
    li64: u32
    mv: u32
    spill: u32
    reload: u32
    jump_register: u32
    call_register: u32
    op_lui: u16
    op_auipc: u16
    op_addi: u16
    op_add: u16
    caches: Array[u64, 8]  # host addresses of the harts' Caches


@struct
class CodePage:
    """Translations of one guest page as seen at one virtual page."""

    vpage: u64
    host: u64  # host address of the page's bytes
    physical: u64
    number: u32
    marked: bool  # in Board.code_map
    chain: u64  # number + 1 of the next page in the bucket
    entry: Array[u32, HALFWORDS]  # offset in the arena, 0: not translated
    seq: Array[u16, HALFWORDS]


@struct
class Access:
    """A site that accesses memory through a cell; its number is the cell's."""

    site: u32
    stub: u32  # arena offset of what the template jumps to when the cell does not serve
    after: u32  # arena offset of what follows the template
    misses: u32


@struct
class Link:
    """A direct jump inside a page that goes through the linker until its target is translated."""

    page: u32
    target: u16
    retired: u16  # instructions of the run retired once the jump is taken
    backward: u32
    taken: u32  # arena offset of the jump's rel32
    count: u32  # arena offset of the count immediate
    pad: u32


@struct
class Jump:
    """One entry of the jump cache."""

    pc: u64
    code: u64
    seq: u64
    pad: u64


@struct
class JumpTable:
    entries: Array[Jump, JUMP_ENTRIES]  # first: generated code addresses them from the table's base
    pages: Array[u64, JUMP_PAGES // 64]  # a bit per page number modulo JUMP_PAGES: jumps may lead there
    used: bool


@struct
class Fetched:
    """Where fetches from a virtual page lead: the number of a code page."""

    tag: u64
    page: u64


@struct
class FetchTable:
    entries: Array[Fetched, FETCH_ENTRIES]
    used: bool


@struct
class Cache:
    """Everything the template engine knows about one hart."""

    tlbs: Tlbs
    jumps: Array[JumpTable, FETCH_REGIMES]
    fetch: Array[FetchTable, FETCH_REGIMES]
    buckets: Array[u64, BUCKETS]  # by host page: number + 1 of a code page
    library: Ptr[Library]
    hart: u64  # host address of the Hart
    hart_bit: u64
    harts: u64  # of the machine
    lock: u64  # of the list of changes
    change_count: u64
    change_at: Array[u64, CHANGES]  # offset in RAM
    change_size: Array[u64, CHANGES]
    protect_asked: u64  # times that others asked to drop write entries
    protect_done: u64
    unsettled_count: u64
    unsettled: Array[u32, UNSETTLED]
    writable: u64  # the arena's two views
    executable: u64
    position: u64  # offsets into the arena
    floor: u64
    limit: u64
    pages: u64  # pool of CodePage
    page_count: u64
    page_limit: u64
    cell_limit: u64
    accesses: u64  # pool of Access, as many as cells
    links: u64  # pool of Link
    link_count: u64
    link_limit: u64
    leave: u64  # code address that leaves generated code
    enter: u64
    holes: Array[u64, 32]
    decoded: Decoded
    pending_count: u64
    pending_at: Array[u32, PENDING]  # jumps of this run that need a stub: where, and
    pending_value: Array[u32, PENDING]  # of which site, or link number | LINKED
    stub: u64  # what a jump that pends now belongs to
    taken_at: u64  # where the last template emitted has its jump, its count
    count_at: u64
    far_count: u64
    far_at: Array[u32, 512]
    far_retired: Array[u32, 512]
    far_back: Array[u32, 512]
    far_target: Array[u64, 512]
    epoch: u64  # counts the times that translations were forgotten
    translated: u64  # statistics
    slow_steps: u64
    cell_misses: u64
    resolves: u64
    flushes: u64
