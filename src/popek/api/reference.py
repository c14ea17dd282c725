"""The running part of a machine as plain Python: the native core's monitor and devices on the reference engine.

One thread runs all harts in turn, and is the only one that touches their state; what other threads want (input,
interrupt lines, the end) waits in queues. Time is counted in instructions, so that a slow engine has no timer storm;
when every hart waits, time jumps to the next deadline.
"""

from __future__ import annotations

import ctypes
import queue
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from popek.api import guest, native
from popek.base.memory import Block
from popek.devices.bus import Request
from popek.engine.reference import DEFAULT_PORTS, Reference
from popek.isa import interrupts, v
from popek.isa import ports as isa_ports
from popek.lang.run import Runner
from popek.vmm import console, dispatcher, port, timers
from popek.vmm.stops import STOP_WAIT, STOPS
from popek.vmm.vm import NEVER, POLL_MONITOR, STARTED

TURN = 1000                    # steps of a hart before the next one runs
NANOSECONDS = 10               # of an instruction
IDLE = 0.002                   # seconds to wait for the outside when nothing else can happen
_HALTED = 4
_CHUNK = 4096


class _Parked(Exception):
    """A hart went to sleep in the monitor: the next one's turn."""


class ReferenceCore:
    """What api/core.NativeCore is, without native code."""

    threads_needed = False

    def __init__(
        self, engine: str, harts: int, monitor: bool, ram: Block, ram_base: int, answer: Callable[[int], int],
        progress: Callable[[str], None] | None = None, warn: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._guest = guest.Guest()
        self._answer = answer
        self._elapsed = 0
        self._spent = 0.0
        self._asleep: set[int] = set()
        self._requests: deque[Callable[[], None]] = deque()
        self._output: queue.Queue[bytes] = queue.Queue()
        self._rest = b""
        self._input = bytearray()
        bound = {
            **DEFAULT_PORTS, **native.connections(),
            isa_ports.wait_for_interrupt: self._wait,
            port.monotonic: lambda waiter: self._elapsed,
            port.realtime: lambda waiter: time.time_ns(),
            port.sleep: self._sleep,
            port.wake: lambda waiter: None,
            port.give_way: lambda: None,
            port.host_device: self._host_device,
        }  # fmt: skip
        run = self._runner = Runner(bound)
        run[guest.prepare](self._guest, harts, int(monitor), ram.address, ram_base, len(ram.map), 0, 0)
        self.harts = self._guest.hart[:harts]
        self._trap, self._poll, self._wakes = run[dispatcher.trap], run[dispatcher.poll], run[interrupts.wakes]
        self._engine = Reference(self.harts, bound, self._trapped)

    def lend_vectors(self) -> None:
        """Let the harts have vectors."""
        self._vectors = Block(len(self.harts) * v.BLOCK)
        self._runner[guest.lend_vectors](self._guest, self._vectors.address, 0)

    def _trapped(self, h: Any) -> bool:
        self._trap(h)
        return True

    # -- what the host supplies --

    def _wait(self, h: Any) -> None:
        self._guest.vm.hart[h.hartid].stops[STOP_WAIT] += 1
        if not self._wakes(h):
            self._asleep.add(h.hartid)

    def _sleep(self, waiter: Any, value: int, until: int) -> None:
        raise _Parked

    def _host_device(self, function: int, access: Any) -> bool:
        request = Request(access.address, access.value, access.size, access.write)
        if self._answer(ctypes.addressof(request)) != 0:
            return False
        access.value = request.value
        return True

    # -- running --

    def run_all(self) -> None:
        """Run the machine to its end."""
        vm = self._guest.vm
        began = time.thread_time()
        while not vm.stop:
            self._serve()
            if not sum(self._turn(i) for i in range(len(self.harts))):
                self._idle()
            now = self._runner[timers.time_at](vm, vm.timer)
            for h in self.harts:
                self._runner[timers.raise_due](h, now)
            self._runner[port.devices_tick](vm.devices)
        self._serve()
        self._spent = time.thread_time() - began

    def _turn(self, i: int) -> int:
        """One hart's turn; the number of steps it made."""
        h, state = self.harts[i], self._guest.vm.hart[i]
        asked = h.poll & POLL_MONITOR
        if not asked and (state.state != STARTED or (i in self._asleep and not self._wakes(h))):
            return 0
        self._asleep.discard(i)
        state.sleeping = state.waiter.asleep = 0
        steps = 0
        step = self._engine.step
        try:
            while steps < TURN and i not in self._asleep:
                if h.poll and self._poll(h):
                    break
                steps += 1
                while not step(h):
                    steps += 1
        except _Parked:
            pass
        state.sleeping = 1             # no other hart waits for this one meanwhile
        self._elapsed += steps * NANOSECONDS
        return steps

    def _idle(self) -> None:
        """Nobody runs: go on to the next deadline, or wait for the outside."""
        vm = self._guest.vm
        now = self._runner[timers.time_at](vm, vm.timer)
        deadlines = [self._runner[timers.next_deadline](h, now) for h in self.harts]
        devices = self._runner[port.devices_tick](vm.devices)
        moment = self._runner[timers.due](vm, min([*deadlines, devices]))
        if moment == NEVER or self._requests:
            time.sleep(IDLE)
        else:
            self._elapsed = max(self._elapsed, moment)

    def _serve(self) -> None:
        """Do what other threads have asked for, and pass output on."""
        vm = self._guest.vm
        while self._requests:
            self._requests.popleft()()
        c = vm.console
        while c.written != c.taken:
            first, n = c.taken % len(c.output), min(c.written - c.taken, _CHUNK)
            data = bytes(c.output[(first + k) % len(c.output)] for k in range(n))
            c.taken += n
            self._output.put(data)
        while self._input and c.given - c.read < len(c.input):
            data = bytes(self._input[: len(c.input) - (c.given - c.read)])
            held = ctypes.create_string_buffer(data, len(data))
            del self._input[: self._runner[console.give](vm, ctypes.addressof(held), len(data))]

    # -- what api/machine calls --

    def start_at(self, i: int, pc: int, a1: int, a2: int) -> None:
        """Hart `i` runs from `pc`."""
        self._runner[guest.start_at](self._guest, i, pc, a1, a2)

    def stop(self) -> None:
        """End the machine from outside."""
        self._requests.append(lambda: self._runner[guest.stop](self._guest, _HALTED))

    def outcome(self) -> tuple[int, int]:
        """How it ended (0: it runs), and the code of a failure."""
        return self._guest.vm.outcome, self._guest.vm.code

    def take_output(self, place: int, size: int) -> int:
        """Wait for output; -1 at the end."""
        data = self._rest or self._output.get()
        if not data:
            return -1
        self._rest = data[size:]
        ctypes.memmove(place, data[:size], len(data[:size]))
        return len(data[:size])

    def give_input(self, data: bytes) -> int:
        """Offer input: all is taken."""
        self._requests.append(lambda: self._input.extend(data))
        return len(data)

    def close_output(self) -> None:
        """Output ends once it is taken."""
        self._output.put(b"")

    def set_source(self, source: int, level: int) -> None:
        """Drive an interrupt source."""
        self._requests.append(lambda: self._runner[guest.set_source](self._guest, source, level))

    def wrote(self, paddr: int, n: int) -> None:
        """A device wrote to RAM: no code is kept."""

    def counters(self) -> list[tuple[int, list[int]]]:
        """Of each hart: instructions retired, stops by cause."""
        return [(h.instret, list(self._guest.vm.hart[h.hartid].stops[:STOPS])) for h in self.harts]

    def hart_seconds(self) -> float:
        """Processor time of the harts' thread, once it has ended."""
        return self._spent

    def places(self) -> list[tuple[int, int, int, int, int]]:
        """Of the harts that run: pc, mode, satp, tp, sscratch. Any thread."""
        return [(h.pc, h.mode, h.satp, h.x[4], h.sscratch) for h in self.harts if h.hartid not in self._asleep]

    def free(self) -> None:
        """Nothing to give back."""
