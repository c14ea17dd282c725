"""The worker process as its machine sees it: started when first needed, asked one thing at a time, mourned once.

Not here: what it does (worker), what it is asked (manager).
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING

from popek.engine.optimizing.worker import LENGTH, RESULT, read_exactly, write_all

if TYPE_CHECKING:
    import subprocess

PATIENCE = 1.0  # seconds that a process gets to end by itself once its pipe is closed
LARGEST = 1 << 24
CPUCLOCK_SCHED = 2  # of Linux's clock numbers: time as the scheduler counts it
WORKER = "popek.engine.optimizing.worker"


class WorkerDied(Exception):
    """It ended in the middle, or did not start."""


class Client:
    """A worker process, or the wish for one. To be used from one thread."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.busy = False
        self.spent = 0.0  # seconds of processor time on what it answered, by its own account
        self.unanswered = 0.0  # and on what it did not
        self._answered = 0.0  # of `spent`, what this process had
        self.starts = 0

    @property
    def fd(self) -> int:
        """Readable when there is an answer, or the process has ended; -1 without a process."""
        if self.process is None or self.process.stdout is None:
            return -1
        return self.process.stdout.fileno()

    def send(self, description: bytes) -> None:
        """Ask for a region. Raises WorkerDied."""
        import subprocess

        if self.process is not None and not self.busy and self.process.poll() == 0:
            self.forget()  # it was idle for long
        message = LENGTH.pack(len(description)) + description
        try:
            for attempt in (1, 2):
                process = self.process or self._start()
                assert process.stdin is not None
                try:
                    write_all(process.stdin.fileno(), message)
                    break
                except BrokenPipeError:
                    if process.wait(PATIENCE) != 0 or attempt == 2:
                        raise
                    self.forget()
        except (OSError, subprocess.SubprocessError) as error:
            self.kill()
            raise WorkerDied(str(error)) from None
        self.busy = True

    def receive(self) -> bytes | None:
        """The answer, once `fd` is readable: an image, or b"" if nothing was to be made. None: it ended, being idle.

        Raises WorkerDied.
        """
        head = read_exactly(self.fd, LENGTH.size)
        if not head and not self.busy:
            self.forget()
            return None
        size = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
        data = read_exactly(self.fd, size) if RESULT.size <= size <= LARGEST else b""
        if len(data) < RESULT.size or len(data) < size:
            code = self.kill()
            raise WorkerDied(f"exit status {code}" if code >= 0 else f"signal {-code}")
        self.busy = False
        seconds = RESULT.unpack_from(data)[0] / 1e9
        self.spent += seconds
        self._answered += seconds
        return data[RESULT.size :]

    def finish(self, seconds: float) -> bytes | None:
        """The answer that is still to come, if it comes in time; then the process ends."""
        answer = None
        if self.busy and select.select([self.fd], [], [], seconds)[0]:
            try:
                answer = self.receive()
            except WorkerDied:
                pass
        if self.busy:
            self.kill()
        self.forget()
        return answer

    def forget(self) -> None:
        """Let an idle process end, and wait for it."""
        process, self.process, self.busy = self.process, None, False
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if process.poll() is None:
            process.kill()
        process.wait()

    def kill(self) -> int:
        """End it at once; its exit status."""
        if self.process is None:
            return 0
        deadline = time.monotonic() + 0.1  # if it is ending by itself, its own status says more
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.process.poll() is None:
            self.unanswered += max(_processor_time(self.process.pid) - self._answered, 0.0)
            self.process.kill()
        code = self.process.wait()
        self.forget()
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        import subprocess

        root = os.path.abspath(__file__)
        for _ in range(4):
            root = os.path.dirname(root)
        path = os.pathsep.join([root, *filter(None, sys.path)])  # finding them again would take some milliseconds
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-S", "-c", f"from {WORKER} import main; main()"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.starts += 1
        self._answered = 0.0
        return self.process


def _processor_time(process: int) -> float:
    """Seconds of a process that was not waited for yet: clock_getcpuclockid(3)."""
    try:
        return time.clock_gettime(~process << 3 | CPUCLOCK_SCHED)
    except OSError:
        return 0.0
