"""The reference engine: instructions run as plain Python, all harts in turn on one thread.

Slow and obvious; the oracle of every test.

It decides nothing of its own: fetch, decode, execute, and look for interrupts at the poll points every engine shares:
branches and jumps that go backwards (or to themselves), indirect jumps, trap entries and returns, and WFI.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from popek.engine import vector
from popek.isa import interrupts, memory, ports, privileged, table
from popek.isa.hart import Hart
from popek.isa.op import KINDS
from popek.isa.table import Decoded
from popek.lang import Trap
from popek.lang.run import Runner

_BRANCH, _JUMP, _JUMP_REGISTER, _SYSTEM = (KINDS.index(k) for k in ("branch", "jump", "jump_register", "system"))
_POLLING = frozenset(table.IDS[name] for name in ("mret", "sret", "wfi"))

#: What a machine without devices, clock or caches answers.
DEFAULT_PORTS: dict[Any, Callable[..., Any]] = {
    ports.tlb_flush: lambda h, vaddr, asid, flags: None,
    ports.tlb_regime_changed: lambda h: None,
    ports.pmp_changed: lambda h: None,
    ports.code_modified: lambda h, paddr: None,
    ports.fence_i: lambda h: None,
    ports.spins: lambda h: None,
    ports.timer_changed: lambda h: None,
    **vector.PORTS,
}


class Reference:
    """Runs harts that share a board.

    `ports` are what the machine around them does; `on_trap` may handle a trap itself.
    """

    def __init__(self, harts: Sequence[Hart], ports_: Mapping[Any, Callable[..., Any]] | None = None,
                 on_trap: Callable[[Hart], bool] | None = None) -> None:
        self.harts = list(harts)
        self.on_trap = on_trap
        self.stopped = False
        self._asleep: set[int] = set()
        bound: dict[Any, Callable[..., Any]] = {
            **DEFAULT_PORTS, ports.read_time: self._count, ports.wait_for_interrupt: self._sleep,
                 ports.mmio_read: _nothing_there, ports.mmio_write: _nothing_there, **(ports_ or {})}
        bound[ports.vector] = self._vector
        run = self._run = Runner(bound)
        self._fetch, self._decode, self._execute = run[memory.fetch], run[table.decode], run[table.execute]
        self._take_trap, self._wakes = run[privileged.take_trap], run[interrupts.wakes]
        self._poll_interrupts = run[privileged.poll_interrupts]
        self._known: dict[int, Decoded] = {}

    def step(self, h: Hart) -> bool:
        """One instruction, or one trap. True when the hart is at a poll point."""
        pc = h.pc
        try:
            word = self._fetch(h, pc)
            d = self._known.get(word)
            if d is None:
                d = self._known[word] = Decoded()
                self._decode(word, d)
            self._execute(h, d)
        except Trap:
            if self.on_trap is None or not self.on_trap(h):
                self._take_trap(h)
            return True
        h.instret = h.instret + 1 & 0xFFFF_FFFF_FFFF_FFFF
        if d.flags in (_BRANCH, _JUMP):
            return bool(h.pc <= pc)
        return d.flags == _JUMP_REGISTER or (d.flags == _SYSTEM and d.op in _POLLING)

    def turn(self, h: Hart, limit: int = 1 << 62) -> int:
        """Run one hart to its next poll point, and take the interrupt that is due there. Returns the steps made."""
        if h.hartid in self._asleep:
            if not self._wakes(h):
                return 0
            self._asleep.discard(h.hartid)
        steps = 1
        while not self.step(h):
            if steps == limit:
                return steps
            steps += 1
        if h.poll:
            self._poll_interrupts(h)
        return steps

    def run(self, limit: int = 1 << 62, check: Callable[[], bool] | None = None) -> int:
        """Run all harts in turn until `limit` steps are made, `check` says stop, or all sleep.

        Returns the steps made.
        """
        steps = 0
        while not self.stopped and steps < limit:
            made = sum(self.turn(h, limit - steps) for h in self.harts)
            steps += made
            if made == 0 or (check is not None and check()):
                break
        return steps

    def _vector(self, h: Hart, word: int) -> None:
        from popek.isa.vector.table import execute

        self._run[execute](h, word)

    def _sleep(self, h: Hart) -> None:
        if not self._wakes(h):
            self._asleep.add(h.hartid)

    def _count(self, h: Hart) -> int:
        """A clock for machines that have none: it ticks with the instructions of the first hart."""
        return int(self.harts[0].instret)


def _nothing_there(h: Hart, paddr: int, size: int, value: int = 0) -> int:
    raise Trap(0, paddr)
