"""The virtual resources of one guest: its harts, clock, console and end. Structs and numbers, no behaviour."""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.isa.table import Decoded
from popek.lang import Array, Opaque, Ptr, struct, u8, u32, u64
from popek.vmm.stops import STOPS

MAX_HARTS = 8
NEVER = (1 << 64) - 1          # a moment that does not come

# States of a hart. SBI 3.0, "Hart State Management Extension", table of states.
STARTED, STOPPED, START_PENDING, STOP_PENDING, SUSPENDED = 0, 1, 2, 3, 4

# The monitor's bits of Hart.poll (bit 0 is isa's, bit 31 the engine's).
POLL_STOP = 2                  # the machine ends
POLL_STATE = 4                 # the hart's state is to change
POLL_FENCE = 8                 # another hart wants something forgotten
POLL_ENGINE = 1 << 31
POLL_MONITOR = POLL_STOP | POLL_STATE | POLL_FENCE

# How a machine ends
RUNNING, OFF, RESET, FAIL, HALTED = 0, 1, 2, 3, 4

OUTPUT_BYTES = 1 << 16         # powers of two
INPUT_BYTES = 1 << 14
FENCES = 8


@struct
class Waiter:
    """A place for one host thread to sleep at. `word` changes to wake it; the time fields are the sleeper's own."""

    word: u32
    asleep: u32                # the sleeper is, or is about to be: wake it after changing what it waits for
    seconds: u64               # a struct timespec
    nanoseconds: u64


@struct
class Lock:
    """A spin lock (vmm.lock)."""

    word: u32


@struct
class Access:
    """One access that a device model outside native code has to answer."""

    address: u64
    value: u64
    size: u32
    write: u32


@struct
class Fence:
    """One remote fence: what to forget. SBI 3.0, "RFENCE Extension"."""

    kind: u32
    start: u64
    size: u64
    asid: u64


@struct
class HartState:
    """One virtual hart, from the monitor's side."""

    hart: Ptr[Hart]
    waiter: Waiter
    state: u32
    sleeping: u32              # runs no guest code, and looks at everything before it does again
    start_pc: u64
    start_argument: u64
    spins: u64                 # PAUSEs in a row
    spun: u64                  # instructions retired at the last one
    machine_deadline: u64      # mtimecmp
    timer: Lock                # of machine_deadline and MTIP
    lock: Lock                 # of the fences
    fence_count: u32           # more than FENCES: forget everything
    fences: Array[Fence, FENCES]
    fences_asked: u64
    fences_done: u64
    access: Access
    decoded: Decoded           # the interpreter's
    stops: Array[u64, STOPS]


@struct
class Console:
    """Bytes between the guest's serial line and the outside. Positions only grow; both rings have one lock."""

    lock: Lock
    full: u32                  # harts wait for room
    wanted: u32                # somebody outside waits for room in the input
    closed: u32                # nobody takes output any more: drop it
    written: u64
    taken: u64
    given: u64
    read: u64
    taker: Waiter
    room: Waiter               # where harts wait for it, always without limit
    output: Array[u8, OUTPUT_BYTES]
    input: Array[u8, INPUT_BYTES]


@struct
class VM:
    """One guest."""

    harts: u32                 # how many
    monitor: u32               # 1: the monitor itself is the guest's firmware (SBI); 0: the guest has its own
    stop: u32
    outcome: u32               # RUNNING, or how it ended
    code: u64                  # of FAIL
    started: u64               # host clock, nanoseconds, at time 0
    shift: u64                 # added to the time by writes of mtime
    next_look: u64             # when the timer thread looks at the clock again (guest time)
    host_device: u64           # address of the function that answers for devices outside
    devices: Ptr[Opaque]       # the devices in native code
    check: Ptr[Opaque]         # what vmm.lockstep writes down, in builds that are checked
    timer: Waiter
    console: Console
    hart: Array[HartState, MAX_HARTS]
