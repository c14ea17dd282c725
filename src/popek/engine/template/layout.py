"""Data shared by the template engine's parts: what one hart's code cache looks like in memory.

Lives here: structs, hole and relocation numbers, sizes. No behaviour.

Vocabulary. A *template* is machine code for one operation and operand shape, with *holes*. A *run* is straight-line
guest code translated in one go. A *site* names a guest instruction: page number << 11 | offset in the page / 2.
`seq` numbers the instructions of a run from 0: the count register holds (retired instructions - seq of the
instruction about to run), so that straight-line code does not count at all and every control transfer adds a constant.
"""

from enum import IntEnum, IntFlag

from popek.engine.optimizing.state import Optimizing
from popek.engine.tlb import PAGE, Tlbs
from popek.isa.table import Decoded
from popek.lang import Array, Ptr, i32, struct, u8, u16, u32, u64

PINS = (15, 14, 10, 13, 2, 8)  # guest registers that live in host registers: a5 a4 a0 a3 sp s0
PINNED = len(PINS)

# Sizes of tables
FETCH_REGIMES = 3  # U, S, M
FETCH_ENTRIES = 256
JUMP_ENTRIES = 4096
JUMP_PAGES = 1024  # bits
BUCKETS = 4096
HALFWORDS = PAGE // 2  # where an instruction may begin
CHANGES = 256  # writes to code that a hart may be told of at once
UNSETTLED = 2048
MAX_RUN = 400  # instructions translated in one go
RUN_BYTES = 128 * 1024  # room asked for in the arena before a run is begun
PENDING = 4096  # jumps to stubs of one run
FAR = 512  # branches of one run that leave the page

# Words of Hart.engine used by generated code; engine.tlb and optimizing.state have some more
E_CACHE, E_JUMPS, E_SLOW, E_LINK, E_RESOLVE, E_SINK = 0, 1, 2, 3, 4, 5
E_VECTOR = 14

# What run.vector_step answers: go on behind the instruction; begin anew on the slow path; leave the run behind it
DONE, AGAIN, LEAVE = 0, 1, 2


class Hole(IntEnum):
    """What a template leaves open: numbers, then places."""

    RD = 0  # offset of the result's register in the hart
    RS1 = 1  # offsets of the operands' registers
    RS2 = 2
    RS3 = 3
    IMM = 4
    SHAMT = 5  # an immediate that LLVM knows to be small
    VALUE = 6  # 64 bits
    COUNT = 7  # what a control transfer adds to the count register
    JUMP = 8  # offset of an entry in the jump table
    SITE = 9  # what a stub hands over
    LINK = 10
    NEXT = 11  # the code behind
    TAKEN = 12  # where a jump or a branch leads
    SLOW = 13  # where to go when the template cannot go through with it
    CELL = 14  # the TLB entry of an access
    GLUE_SLOW = 15  # this hart's copies of the glue
    GLUE_LINK = 16
    GLUE_RESOLVE = 17


class Fixed(IntEnum):
    """The templates that stand for no operation; their numbers in the library."""

    STEP = 0  # to the slow path, with the site's number
    LINK = 1  # to the linker, with the link's number
    LEAVE = 2  # out of generated code
    GLUE_SLOW = 3  # calls of run.slow_step, run.link, run.resolve
    GLUE_LINK = 4
    GLUE_RESOLVE = 5
    ENTER = 6  # into generated code: an ordinary function
    GOTO = 7  # inside the page
    GOTO_BACK = 8  # the same, backward: polls
    FAR = 9  # to another page
    FAR_BACK = 10
    JUMP = 11  # without retiring anything
    REGION_STEP = 12  # how regions leave: optimizing.image.Symbol
    REGION_FAR = 13
    REGION_POLL = 14
    REGION_INDIRECT = 15
    REGION_REFRESH = 16
    REGION_READ = 17  # what they call
    REGION_WRITE = 18
    REGION_ENTERED = 19  # before and behind regions whose instructions are counted
    REGION_LEFT = 20
    VECTOR = 21  # calls run.vector_step


class Kind(IntEnum):
    """How the translator treats an operation."""

    STEP = 0  # the slow path, then the next instruction
    STEP_END = 1  # the slow path, which ends the run
    PLAIN = 2
    BRANCH = 3
    JUMP = 4
    JUMP_REGISTER = 5
    VECTOR = 6


class Flag(IntFlag):
    """What else the translator must know of an operation: its operands, and some properties."""

    RD = 1 << 0
    RS1 = 1 << 1
    RS2 = 1 << 2
    FRD = 1 << 3
    FRS1 = 1 << 4
    FRS2 = 1 << 5
    PURE = 1 << 6  # does nothing but write rd
    COMMUTES = 1 << 7  # only shapes with rs1 >= rs2 exist
    RM = 1 << 8  # has a rounding mode: two templates, for 0 and for the dynamic one
    MEMORY = 1 << 9  # accesses memory through a cell
    TABLE_PINS = 1 << 10  # its shapes that look into the TLB know pinned registers


HOLES = tuple(h.name.lower() for h in Hole)
FIXED = tuple(t.name.lower() for t in Fixed)

# Kinds of relocations
ABS32, ABS64, PC32, ABS8 = 0, 1, 2, 3

# Numbers that stubs hand over: a site, or with ACCESS an access, or with LINKED a link
ACCESS, LINKED = 1 << 30, 1 << 31


@struct
class Template:
    """Where a template's code and its relocations are."""

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
    marks: u64  # counts the pages that any hart marked


@struct
class CodePage:
    """Translations of one guest page as seen at one virtual page."""

    vpage: u64
    host: u64  # host address of the page's bytes
    number: u32
    marked: bool  # in Board.code_map
    regions: u32  # how many regions depend on the page's bytes
    chain: u64  # number + 1 of the next page in the bucket, 0: none
    entry: Array[u32, HALFWORDS]  # offset in the arena, 0: not translated
    seq: Array[u16, HALFWORDS]
    known: Array[u64, HALFWORDS // 64]  # bits: was translated before the page's templates made room for a region


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
    """Where jumps lead, by (pc >> 1) modulo JUMP_ENTRIES."""

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
    """Where fetches lead, by page number modulo FETCH_ENTRIES."""

    entries: Array[Fetched, FETCH_ENTRIES]
    used: bool
    local: bool  # some entry may come from a page-table leaf that was not global


@struct
class Cache:
    """Everything the template engine knows about one hart."""

    tlbs: Tlbs
    jumps: Array[JumpTable, FETCH_REGIMES]
    fetch: Array[FetchTable, FETCH_REGIMES]
    buckets: Array[u64, BUCKETS]  # by host page: number + 1 of a code page, 0: none
    library: Ptr[Library]
    hart: u64  # host address of the Hart
    hart_bit: u64
    harts: u64  # of the machine
    lock: u64  # of the list of changes
    change_count: u64
    change_at: Array[u64, CHANGES]  # offset in RAM
    change_size: Array[u64, CHANGES]
    protect_asked: u32  # others want write entries dropped
    protect_done: u64  # Library.marks when they were last dropped for others
    unsettled_count: u64
    unsettled: Array[u32, UNSETTLED]  # pages, and Library.marks when they were marked
    unsettled_mark: Array[u64, UNSETTLED]
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
    holes: Array[u64, len(Hole)]
    decoded: Decoded
    pending_count: u64
    pending_at: Array[u32, PENDING]  # jumps of this run that need a stub: where, and
    pending_value: Array[u32, PENDING]  # of which site, or link number | LINKED
    stub: u64  # what a jump that pends now belongs to
    taken_at: u64  # where the last template emitted has its jump, its count
    count_at: u64
    far_count: u64
    far_at: Array[u32, FAR]
    far_retired: Array[u32, FAR]
    far_back: Array[u32, FAR]
    far_target: Array[u64, FAR]
    optimizing: Optimizing
    epoch: u64  # counts the times that translations were forgotten
    measured: bool  # what costs time to be measured: instructions in regions, time of translation
    translated: u64  # statistics
    translating: u64  # ticks
    slow_steps: u64
    stepped: u64  # those that retired
    cell_misses: u64
    resolves: u64
    flushes: u64
