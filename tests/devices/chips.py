"""The devices in native code, run as plain Python with a pretended monitor around them. No assertions here."""

from __future__ import annotations

from typing import Any

from popek.devices import builtin, clint, irq, rtc, syscon, uart
from popek.isa.hart import Hart
from popek.lang import Trap
from popek.lang.run import Runner


class Board:
    """All built-in devices; what they ask of the monitor is kept in plain attributes."""

    def __init__(self, harts: int = 2) -> None:
        self.mip = [0] * harts
        self.out = bytearray()
        self.room = 1 << 16
        self.input = bytearray()
        self.time = 0
        self.wall = 1_700_000_000_000_000_000
        self.deadlines = [(1 << 64) - 1] * harts
        self.watched: list[int] = []
        self.ended: list[tuple[int, int]] = []
        self.hart = Hart()
        self.run = Runner({
            irq.drive: self._drive, clint.lines: lambda owner, i: self.mip[i], irq.relax: self._relax,
            clint.read_time: lambda h: self.time, clint.set_time: self._set_time,
            clint.machine_deadline: lambda h, i: self.deadlines[i], clint.set_machine_deadline: self._set_deadline,
            uart.put: lambda owner, byte: self.out.append(byte), uart.output_room: lambda owner: self.room,
            uart.input_ready: lambda owner: len(self.input), uart.get: lambda owner: self.input.pop(0),
            rtc.wall_clock: lambda h: self.wall, rtc.watch: lambda owner, deadline: self.watched.append(deadline),
            syscon.finished: lambda owner, outcome, code: self.ended.append((outcome, code)),
            builtin.guest_time: lambda owner: self.time,
        })  # fmt: skip
        self.chips = builtin.Builtin()
        self.run[builtin.prepare](self.chips, None, harts)

    def _drive(self, owner: Any, i: int, lines: int, level: int) -> None:
        self.mip[i] = self.mip[i] | lines if level else self.mip[i] & ~lines

    def _relax(self) -> None:
        raise AssertionError("a lock was not given back")

    def _set_time(self, h: Any, value: int) -> None:
        self.time = value

    def _set_deadline(self, h: Any, i: int, value: int) -> None:
        self.deadlines[i] = value

    def read(self, address: int, size: int = 4) -> int:
        """A load; raises Trap where nothing is."""
        return self.run[builtin.device_read](self.hart, self.chips, address, size)

    def write(self, address: int, value: int, size: int = 4) -> None:
        """A store."""
        self.run[builtin.device_write](self.hart, self.chips, address, size, value)

    def source(self, number: int, level: int) -> None:
        """Drive an interrupt source."""
        self.run[builtin.raise_source](self.chips, number, level)

    def typed(self, data: bytes) -> None:
        """Input arrives."""
        self.input += data
        self.run[builtin.input_arrived](self.chips)

    def tick(self) -> int:
        """The timer thread looks."""
        return self.run[builtin.devices_tick](self.chips)

    def faults(self, address: int, size: int = 4) -> bool:
        """Does an access fault, both ways?"""
        found = 0
        for access in (lambda: self.read(address, size), lambda: self.write(address, 0, size)):
            try:
                access()
            except Trap:
                found += 1
        assert found in (0, 2)
        return found == 2
