"""What a hart's code cache holds of the optimizing engine: installed regions, samples, mail from the manager.

Lives here: structs and numbers, no behaviour. Not here: region images (image), the code cache around (template/layout).
"""

from popek.engine.optimizing.image import MAGIC, MAX_PAGES, Symbol
from popek.lang import Array, struct, u16, u32, u64

# Of image's packed form
MAGIC_NUMBER = int.from_bytes(MAGIC, "little")
HEADER_BYTES, RELOCATION_BYTES, SPAN_BYTES = 56, 16, 8
SYMBOLS = len(Symbol)

REGION_PAGES = 1024  # bits
SAMPLES = 256  # powers of two
MAILS = 64

# Words of Hart.engine; engine.tlb and template.layout have the others. E_VIEW (tlb) is read by regions.
E_STEP, E_REFRESH, E_FILL_READ, E_FILL_WRITE = 9, 10, 11, 12

# Bits of Optimizing.asked
ASKED_SAMPLE, ASKED_MAIL, ASKED_REQUEST = 1, 2, 4

IN_REGION = 2  # of the glue's argument to run.resolve: the poll point is in a region

# What became of a mail
WAITING, INSTALLED, ELSEWHERE, STALE, BAD, THERE = 0, 1, 2, 3, 4, 5


@struct
class View:
    """Guest memory that a region may access: `span` bytes at addr if addr - low < limit; host = addr + addend."""

    low: u64
    limit: u64
    addend: u64
    pad: u64


@struct
class RegionData:
    """What a region's code reads and writes of itself; its views follow."""

    valid: u64  # the E_VIEW for which its pages and views were checked
    number: u64


@struct
class Region:
    """An installed region. `low`, `high`: what it was made from of each of its pages."""

    live: u32
    page: u32  # number of the code page that it is entered in
    slot: u32
    code: u32  # offset in the arena
    size: u32
    flags: u32
    instructions: u32
    views: u32
    data: u64  # host address of its RegionData
    pages: u32
    of: Array[u32, MAX_PAGES]  # numbers of code pages
    low: Array[u16, MAX_PAGES]
    high: Array[u16, MAX_PAGES]


@struct
class Extent:
    """Guest memory around an address that is contiguous on the host, too."""

    low: u64
    size: u64
    addend: u64


@struct
class Sample:
    """Where a hart was at a poll point. `host`: host address of the byte at pc, or 0; `about`: see sampling."""

    pc: u64
    host: u64
    about: u64
    pad: u64


@struct
class Mail:
    """Please install: a region image at a host address, entered at `pc` as executed in `mode`."""

    image: u64
    size: u64
    pc: u64
    mode: u64
    result: u64


@struct
class Optimizing:
    """One hart's share of the optimizing engine."""

    glue: Array[u64, SYMBOLS]  # by symbol: code addresses; BASE and DATA while one is installed
    regions: u64  # pool of Region
    count: u64
    limit: u64
    data: u64  # pool of RegionData, within reach of code
    data_position: u64
    data_limit: u64
    page_bits: Array[u64, REGION_PAGES // 64]  # by page number modulo REGION_PAGES: a live region may span it
    extent: Extent
    asked: u32
    in_region: u32  # the last exit was from a region
    sampled: u64  # samples written; taken from the ring
    taken: u64
    samples: Array[Sample, SAMPLES]
    mailed: u64  # mails written by the manager; looked at by the hart
    opened: u64
    mails: Array[Mail, MAILS]
    request_place: u64  # where to write a request (sampling), 0: nowhere
    request_pc: u64
    request_mode: u64
    installed: u64  # statistics
    discarded: u64
    refreshed: u64
    fills: u64
    steps: u64
