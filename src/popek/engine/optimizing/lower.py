"""From basic blocks of guest instructions to LLVM text.

Lives here: the order of work, phis, and where checks of accesses are placed. A region keeps registers in values;
memory's copies are out of date until it leaves. So every way out (frame.Exits) writes what has changed since the entry.
Not here: what is written for an instruction (steps, control), the function around the blocks (frame).
"""

from __future__ import annotations

from popek.engine.optimizing.control import Control
from popek.engine.optimizing.form import Block
from popek.engine.optimizing.frame import Count, Leave, State
from popek.engine.optimizing.loops import Head, Loop, dominates, dominators, loops, roots
from popek.engine.optimizing.memory import Access, Checks, Known, settled
from popek.engine.optimizing.steps import execute
from popek.engine.optimizing.tables import Layout
from popek.engine.optimizing.values import ENTRY, FLOAT_REGISTERS, Value, merged, reaching, signed
from popek.engine.optimizing.writer import Text, Writer


class Lowering:
    """Makes the text of one region's blocks."""

    def __init__(self, blocks: list[Block], layout: Layout, entry: int, bare: bool) -> None:
        self.blocks = blocks
        self.writer = Writer(layout, entry)
        self.control = Control(self.writer, self.settle)
        self.checks = Checks(bare, self.writer.halves)
        self.made = [Text() for _ in blocks]
        self.arriving = reaching(blocks)
        self.dominator = dominators(blocks)
        self.loops = loops(blocks, self.dominator)
        self.cold: list[str] = []  # text out of the way

    def lower(self) -> str:
        """The text of all blocks, and of what lies out of their way."""
        for block in self.blocks:
            self.block(block)
        known: list[Known] = []
        heads: dict[int, Head] = {}
        for n, made in enumerate(self.made):
            above = {} if n == 0 else known[self.dominator[n]]
            known.append({root: list(checks) for root, checks in above.items()})
            if n in self.loops:
                self.hoist(self.loops[n], known[n], heads)
            self.checks.arrange(made.accesses, known[n])
        for n, made in enumerate(self.made):
            self.merge(n, made, heads)
        lines = [self.line(line) for made in self.made for line in made.lines]
        body = "\n".join(lines) + "\n" + "".join(self.cold)
        return body + self.writer.exits.text(body)

    def line(self, line: str | Access) -> str:
        """A line of a block; of an access its address, and its check if it has one."""
        if isinstance(line, str):
            return line
        text, cold = self.checks.text(line)
        self.cold.append(cold)
        return text

    # -- blocks --

    def block(self, block: Block) -> None:
        """Write one block. All blocks whose definitions reach it alone have been written."""
        n, w, made = block.number, self.writer, self.made[block.number]
        registers, others = list(w.initial), {}
        for r, definition in self.arriving[n].items():
            if definition == merged(n):
                made.phis.append(r)
                registers[r] = self.phi(n, r)
                w.homes[registers[r].text] = n
            elif definition >= merged(0):
                registers[r] = self.phi(definition - merged(0), r)
            elif definition != ENTRY:
                registers[r] = self.made[definition].registers[r]
                if r in self.made[definition].others:
                    others[r] = self.made[definition].others[r]
        made.counts = self.joins(n)
        if made.counts:
            made.count = Count(f"%b{n}.count", 0)
        elif n != 0:
            made.count = self.made[block.before[0]].count
        w.begin_block(n, made, State(registers, others))
        *straight, last = block.steps
        for step in straight:
            execute(w, step)
        if last.stops:
            w.emit(f"br label %{w.out(Leave.STEP, w.guest(last.pc))}")
        elif last.transfers:
            self.control.transfer(block, last)
        else:
            execute(w, last)
            self.settle(block)
            self.control.go(block, last)
        made.registers, made.others = w.state.values, w.state.others

    @staticmethod
    def phi(block: int, register: int) -> Value:
        """The value of a phi."""
        name = f"%b{block}.{register}"
        return Value(name, "double" if register >= FLOAT_REGISTERS else "i64", name)

    def joins(self, n: int) -> bool:
        """Do several ways lead to a block?"""
        return len(self.blocks[n].before) + (n == 0) > 1

    def settle(self, block: Block) -> None:
        """At the end of a block: what a phi that follows takes from here must be in its form."""
        w = self.writer
        for successor in dict.fromkeys(block.after):
            for r, definition in self.arriving[successor].items():
                if definition != merged(successor):
                    continue
                if r >= FLOAT_REGISTERS:
                    w.bits(r - FLOAT_REGISTERS)
                elif not w.state[r].text:
                    w.state.set(r, w.state[r]._replace(text=w.operand(w.state[r])))
            if self.joins(successor) and w.here.count.add:
                w.here.count = Count(w.compute(f"add i64 {w.here.count.text}, {w.here.count.add}").text, 0)

    def edges(self, n: int, heads: dict[int, Head]) -> list[tuple[int, str]]:
        """The ways that lead to a block: from which block, from which label (a loop's head goes on behind checks)."""
        moved = {f"b{head}" for head in heads}
        found = []
        for source in dict.fromkeys(self.blocks[n].before):
            found += [(source, settled(label)) for to, label in self.made[source].edges if to == n]
        return [(source, f"{label}.go" if label in moved else label) for source, label in found]

    def merge(self, n: int, made: Text, heads: dict[int, Head]) -> None:
        """Put what belongs there at the beginning of a block: phis, and the checks of a loop."""
        edges = self.edges(n, heads)
        phis = []
        for r in made.phis:
            kind = self.phi(n, r).type
            parts = [f"[ {self.made[source].value(r, kind)}, %{label} ]" for source, label in edges]
            if n == 0:
                parts.append(f"[ {self.writer.initial[r].text}, %start ]")
            phis.append(f"  %b{n}.{r} = phi {kind} {', '.join(parts)}")
        if made.counts:
            parts = [f"[ {self.made[source].count.text}, %{label} ]" for source, label in edges]
            if n == 0:
                parts.append("[ %count, %start ]")
            phis.append(f"  %b{n}.count = phi i64 {', '.join(parts)}")
        if n in heads:
            heads[n].edges = [(label, source in self.loops[n].latches) for source, label in edges]
            if n == 0:
                heads[n].edges.append(("start", False))
            pc = self.writer.guest(self.blocks[n].steps[0].pc)
            leave = self.writer.exits.to(Leave.STEP, pc, made.first.snapshot(), made.first_count)
            text, cold = heads[n].text(leave)
            phis.append(text.rstrip("\n"))
            self.cold.append(cold)
        made.lines[1:1] = phis

    # -- loops --

    def hoist(self, loop: Loop, known: Known, heads: dict[int, Head]) -> None:
        """Let checks at a loop's head serve what its turns access."""
        always = [n for n in sorted(loop.body) if all(dominates(n, latch, self.dominator) for latch in loop.latches)]
        accesses = [access for n in always for access in self.made[n].accesses]
        found = roots(loop, accesses, self.strides(loop), self.writer.homes, known, self.checks)
        if found:
            heads[loop.head] = Head(loop, found, self.checks, [])
            for root in found:
                known.setdefault(root.name, []).insert(0, root.check)

    def strides(self, loop: Loop) -> dict[str, int]:
        """Phis of a loop's head that grow by a constant from turn to turn."""
        found = {}
        for r in self.made[loop.head].phis:
            name = self.phi(loop.head, r).text
            back = {(self.made[n].registers[r].root, self.made[n].registers[r].offset) for n in loop.latches}
            if len(back) == 1:
                root, offset = back.pop()
                if root == name and abs(offset) < 1 << 31:
                    found[name] = signed(offset)
        return found
