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
SPOTS = 8192
EVENTS = 256
WALK = 256  # places that the description of a region still has to look at
TARGETS = 64
DESCRIBED = 1500  # instructions that it looks at

# Words of Hart.engine; engine.tlb and template.layout have the others. E_VIEW (tlb) is read by regions. E_INSIDE counts
# what they retire, where that is measured (Cache.measured).
E_STEP, E_REFRESH, E_FILL_READ, E_FILL_WRITE, E_INSIDE = 9, 10, 11, 12, 13

# Bits of Optimizing.asked
ASKED_SAMPLE, ASKED_MAIL, ASKED_REQUEST, ASKED_TRACE = 1, 2, 4, 8

# Of the glue's argument to run.resolve: the poll point is in a region; the site of the jump stands above
IN_REGION, FROM_SITE, SITE_SHIFT = 2, 4, 3

# Sample.about and Spot.about: mode in the low two bits, and
ABOUT_IN_REGION, ABOUT_ENTRY = 4, 8  # came out of a region; a region is entered there

# Of a request
IDLE, ASKED, IN_WORK, DESCRIBED_WELL, REFUSED = 0, 1, 2, 3, 4

# Spot.state
UNKNOWN, HAVE, NEVER, TOLD = 0, 1, 2, 3

# Event.kind
NEW_SPOT, HOT_SPOT, KNOWN_SPOT, MAIL_OPENED, REQUEST_DONE = 1, 2, 3, 4, 5

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
    came_from: u32  # what run.resolve was told; 0: somebody else was called
    sampled: u64  # samples written; taken from the ring
    taken: u64
    samples: Array[Sample, SAMPLES]
    mailed: u64  # mails written by the manager; looked at by the hart
    opened: u64
    mails: Array[Mail, MAILS]
    reported: u64  # mails whose fate the manager knows
    ring: u64  # where samples with callers go (tracing), 0: nowhere
    request_place: u64  # where to write the description of code (sampling)
    request_pc: u64
    request_host: u64
    request_mode: u64
    request_state: u32
    request_age: u32
    walk: Array[u64, WALK]
    seen: Array[u64, MAX_PAGES * 32]
    described: Array[u64, MAX_PAGES]  # numbers of the code pages
    installed: u64  # statistics
    installing: u64  # ticks
    discarded: u64
    refreshed: u64
    fills: u64
    steps: u64


@struct
class Described:
    """One guest page as it is handed to the compiler. `translated`: a bit for each halfword."""

    vpage: u64
    translated: Array[u64, 32]
    data: Array[u64, 512]


@struct
class Description:
    """The code around a pc."""

    pc: u64
    bare: u64
    count: u64
    target_count: u64
    targets: Array[u64, TARGETS]  # where indirect jumps led to
    pages: Array[Described, MAX_PAGES]


@struct
class Spot:
    """A place where harts were found, by guest address and host address; pc 1: unused."""

    pc: u64
    host: u64
    about: u64
    count: u32  # milliseconds
    hot: u32  # the count at which somebody is told
    state: u64


@struct
class Event:
    """What the manager is told."""

    kind: u64
    hart: u64
    pc: u64
    host: u64
    about: u64  # mode; of MAIL_OPENED and REQUEST_DONE what became of it
    count: u64


@struct
class Watch:
    """What the sampling thread of a machine keeps. The events stand first: Python reads them without layouts."""

    event_count: u64
    events: Array[Event, EVENTS]
    library: u64  # host address of template.layout.Library
    harts: u64
    period: u64  # milliseconds between two samples, at least
    interval: u64  # now
    rounds: u64  # with a hart that runs; of those, since the last one with anything to tell
    quiet: u64
    hot: u64  # milliseconds after which a place is worth a region
    tells_new: u64  # are new places of interest (there is a cache to look into)?
    since: u64  # milliseconds that events wait
    samples: u64  # statistics: milliseconds of guest time
    region_samples: u64
    machine_samples: u64
    user_samples: u64
    used: u64
    spots: Array[Spot, SPOTS]
