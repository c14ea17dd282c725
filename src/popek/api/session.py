"""One command inside a running guest: its input and output on the console ports, its exit status.

The protocol is images/agent's; the ports are the virtio console's. What is typed and where output is shown belongs to
faces; which machine it is belongs to actions.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from popek.base.errors import HostProblem
from popek.devices.virtio.console import Port
from popek.images import agent

if TYPE_CHECKING:
    from popek.api.machine import Machine

END_OF_INPUT = b"\x04"  # Ctrl-D, for a terminal
TAIL = 4096


class Session:
    """Attach it to a machine whose ports are `session.ports`; it is the pump's guest."""

    def __init__(self, request: bytes, *, tty: bool, size: tuple[int, int], stdout: int, stderr: int) -> None:
        self.request = request
        self.tty = tty
        self.size = size
        self.control = Port(agent.CONTROL, self._control)
        by_name = {
            agent.TTY: Port(agent.TTY, stdout, console=True, lost=self._finish),
            agent.STDIN: Port(agent.STDIN, lambda data: None),
            agent.STDOUT: Port(agent.STDOUT, stdout, lost=self._finish),
            agent.STDERR: Port(agent.STDERR, stderr, lost=self._finish),
            agent.CONTROL: self.control,
        }
        self.ports = [by_name[name] for name in agent.PORTS]
        self.outputs = [by_name[name] for name in (agent.STDOUT, agent.STDERR, agent.TTY)]
        self.input = by_name[agent.TTY if tty else agent.STDIN]
        # Between the pump and the machine's threads. The pump never holds it while it calls a port, which has a lock.
        self.lock = threading.Lock()
        self.ready = False
        self.early = bytearray()  # input from before the guest was ready
        self.ended_early = False
        self.line = b""
        self.status: int | None = None
        self.failure: BaseException | None = None
        self.log = bytearray()
        self._finished = os.eventfd(0, os.EFD_CLOEXEC)
        self._either = select.epoll()
        self._either.register(self._finished, select.EPOLLIN)
        self.machine: Machine | None = None
        self.begins: Callable[[], None] = lambda: None  # hears that the command is handed over

    def attach(self, machine: Machine) -> None:
        self.machine = machine
        self._either.register(machine.done, select.EPOLLIN)

    # What the pump asks for.

    @property
    def done(self) -> int:
        return self._either.fileno()

    def feed(self, data: bytes) -> None:
        with self.lock:
            if not self.ready:
                self.early += data
                return
        self.input.feed(data)

    def end_of_input(self) -> None:
        with self.lock:
            if not self.ready:
                self.ended_early = True
                return
        self._end_input()

    def backlog(self) -> int:
        return self.input.backlog() if self.ready else len(self.early)

    def stop(self) -> None:
        if self.machine:
            self.machine.stop()

    # What the face adds on a terminal.

    def resize(self, size: tuple[int, int]) -> None:
        with self.lock:
            self.size = size
            if not self.ready:
                return
        if self.machine:
            self.machine.resize(*size)

    # The end.

    @property
    def undecided(self) -> bool:
        """The machine ended before the command or the session did."""
        return self.status is None and self.failure is None

    def result(self) -> int:
        """The command's exit status; raises what kept it from ending by itself."""
        if self.failure:
            raise self.failure
        if self.status is None:
            said = [line for line in self.log.decode("utf-8", "replace").splitlines() if line.strip()]
            last = f": {said[-1].strip()}" if said else ""
            raise HostProblem(f"the guest ended before the command did{last}", "give it more --memory?")
        return self.status

    def close(self) -> None:
        self._either.close()
        os.close(self._finished)

    # Called on the machine's threads.

    def serial(self, data: bytes) -> None:
        """The kernel's log: its end is shown if something goes wrong."""
        self.log += data
        del self.log[:-TAIL]

    def _control(self, data: bytes) -> None:
        *lines, self.line = (self.line + data).split(b"\n")
        for line in lines:
            verb, rest = agent.parse(line)
            if verb == "ready":
                self._begin(rest)
            elif verb == "exit":
                self.status = agent.exit_status(rest)
                self._finish_after(*self.outputs)
            elif verb == "error":
                self._finish(HostProblem(f"in the guest: {rest}"))

    def _begin(self, version: str) -> None:
        if version.strip() != str(agent.VERSION):
            self._finish(HostProblem("the image was built by another version of Popek", "`popek image rm` it"))
            return
        with self.lock:
            if self.machine:
                self.machine.resize(*self.size)
            self.begins()
            self.control.feed(self.request)
            self.input.feed(bytes(self.early))
            self.early.clear()
            self.ready = True
            if self.ended_early:
                self._end_input()

    def _end_input(self) -> None:
        if self.tty:
            self.input.feed(END_OF_INPUT)
        else:
            self.input.end_of_input()

    def _finish_after(self, *outputs: Port) -> None:
        """The session ends when the last byte of the command is written; who reads it may be slow."""
        if outputs:
            outputs[0].after_output(lambda: self._finish_after(*outputs[1:]))
        else:
            self._finish(None)

    def _finish(self, failure: BaseException | None) -> None:
        self.failure = self.failure or failure
        os.eventfd_write(self._finished, 1)
