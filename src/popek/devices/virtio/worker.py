"""A thread for what a hart should not wait for: slow disks, full pipes. It starts with its first job. No devices."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext


class Worker:
    """Runs jobs one after the other, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.around: AbstractContextManager[object] = nullcontext()  # entered for each job
        self._jobs: deque[Callable[[], object]] = deque()
        self._change = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._running = False
        self._closed = False

    @property
    def busy(self) -> bool:
        """Are there jobs that have not ended?"""
        return self._running or bool(self._jobs)

    def submit(self, job: Callable[[], object]) -> None:
        """Run `job` later; jobs must not raise. After `close`, nothing is run."""
        with self._change:
            if self._closed:
                return
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._change.notify_all()

    def cancel(self) -> None:
        """Forget the jobs that have not begun and wait until the current one has ended."""
        with self._change:
            self._jobs.clear()
            if self._thread is not threading.current_thread():
                self._change.wait_for(lambda: not self._running)

    def finish(self) -> None:
        """Wait until every job has ended."""
        with self._change:
            self._change.wait_for(lambda: not self.busy)

    def close(self, timeout: float | None = None) -> None:
        """End the thread after the jobs it has; wait no longer than `timeout` seconds for that."""
        with self._change:
            self._closed = True
            self._change.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._change:
                self._running = False
                self._change.notify_all()
                self._change.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return
                self._running = True  # first: `busy` looks without the lock
                job = self._jobs.popleft()
            with self.around:
                job()
