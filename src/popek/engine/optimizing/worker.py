"""The worker process of the optimizing engine: descriptions of code come in, region images go out.

Lives here: its loop and the form of its messages. `main` reads from standard input and writes to standard output; it
ends with its pipe, or when nobody has wanted anything for a while. What is made of a request is compile's concern. Not
here: who starts it (client).

To it: length, then state.Description as far as it is filled. From it: length, processor time in nanoseconds, image.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from popek.engine.optimizing.image import Request

LENGTH = struct.Struct("<I")
RESULT = struct.Struct("<Q")
DESCRIPTION = struct.Struct("<QQQQ64Q")  # pc, bare, number of pages, of targets; targets
MAX_PAGES, PAGE, BITS = 8, 4096, 256
PAGE_BYTES = 8 + BITS + PAGE
LARGEST = DESCRIPTION.size + MAX_PAGES * PAGE_BYTES
IDLE_SECONDS = 10.0
NICE = 5
FAILURES = "POPEK_WORKER_FAILURES"  # a folder: what could not be compiled is put there, with the reason


def request_of(data: bytes | memoryview) -> Request:
    """A description as a hart wrote it. Raises ValueError if it is none."""
    from popek.engine.optimizing.image import Page, Request

    if len(data) < DESCRIPTION.size:
        raise ValueError("not a description")
    pc, bare, count, known, *targets = DESCRIPTION.unpack_from(data)
    if count > MAX_PAGES or len(data) < DESCRIPTION.size + count * PAGE_BYTES:
        raise ValueError("a description is cut short")
    pages = {}
    for i in range(count):
        at = DESCRIPTION.size + i * PAGE_BYTES
        address = int.from_bytes(data[at : at + 8], "little")
        bits, page = data[at + 8 : at + 8 + BITS], data[at + 8 + BITS : at + PAGE_BYTES]
        pages[address] = Page(bytes(page), bytes(bits))
    return Request(pc, bool(bare), pages, tuple(targets[:known]))


def read_exactly(fd: int, count: int) -> bytes:
    """That many bytes; fewer at the end."""
    data = b""
    while len(data) < count:
        more = os.read(fd, count - len(data))
        if not more:
            break
        data += more
    return data


def write_all(fd: int, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def keep_failure(folder: str, data: bytes, error: Exception) -> None:
    """For whoever looks for the defect."""
    import traceback

    name = os.path.join(folder, f"{data[:8][::-1].hex()}-{os.getpid()}")
    with open(name, "wb") as file:
        file.write(data)
    with open(name + ".txt", "w") as text:
        traceback.print_exception(error, file=text)


def serve(source: int, sink: int) -> None:
    """Answer until the other side closes or is silent for long."""
    from popek.engine.optimizing.compile import compile_region

    before = 0
    while select.select([source], [], [], IDLE_SECONDS)[0]:
        head = read_exactly(source, LENGTH.size)
        if len(head) < LENGTH.size:
            return
        (size,) = LENGTH.unpack(head)
        data = read_exactly(source, size)
        if len(data) < size or size > LARGEST:
            return
        try:
            made = compile_region(request_of(data)) or b""
        except Exception as error:  # a defect of ours, that costs one region
            made = b""
            if os.environ.get(FAILURES):
                keep_failure(os.environ[FAILURES], data, error)
        now = time.process_time_ns()
        answer = RESULT.pack(now - before) + made
        before = now
        write_all(sink, LENGTH.pack(len(answer)) + answer)


def main() -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the guest's process
    try:
        os.nice(NICE)
    except OSError:
        pass
    sink = os.dup(1)
    os.dup2(2, 1)  # nobody else writes to the pipe
    gc.set_threshold(50_000)  # a compiler makes trees, not garbage
    try:
        serve(0, sink)
    except BrokenPipeError:
        pass
    os._exit(0)  # nothing is left to be tidied up
