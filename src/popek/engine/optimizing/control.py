"""Control transfers: from a block to the next, and out of the region.

Lives here: branches, jumps, calls, returns, jumps through tables, and the polls that all engines make at the same
places: where a transfer goes backward, and at every jalr. Not here: what else instructions do (steps).
"""

from __future__ import annotations

from collections.abc import Callable

from popek.engine.optimizing.form import Block, Step
from popek.engine.optimizing.frame import Leave
from popek.engine.optimizing.steps import piece
from popek.engine.optimizing.values import Value, address, written
from popek.engine.optimizing.writer import Writer


class Control:
    """Writes the ends of blocks. `settle` is called before the first edge: see lower."""

    def __init__(self, writer: Writer, settle: Callable[[Block], None]) -> None:
        self.w = writer
        self.settle = settle

    def transfer(self, block: Block, step: Step) -> None:
        """A branch or jump at the end of a block."""
        w, i, op = self.w, step.instruction, step.instruction.op
        condition = piece(w, step, i) if op.kind == "branch" else None
        to = w.sum(w.state[i.rs1], i.imm) if op.kind == "jump_register" else None
        w.retired(1)
        if written(step) is not None:
            w.state.set(i.rd, w.guest(step.after))
        self.settle(block)
        if condition is not None:
            taken, straight = f"t{block.number}", f"f{block.number}"
            likely = ", !prof !1" if step.goes_to is not None and step.goes_to <= step.pc else ""
            w.emit(f"br i1 {condition.text}, label %{taken}, label %{straight}{likely}")
            w.begin(taken)
            self.take(block, step)
            w.begin(straight)
            self.go(block, step)
        elif to is None:
            self.take(block, step)
        else:
            self.indirect(block, step, to)

    def take(self, block: Block, step: Step) -> None:
        """Go to the target of a direct transfer."""
        assert step.goes_to is not None
        polls = step.goes_to <= step.pc or step.instruction.op.kind == "jump_register"
        target = self.w.guest(step.goes_to)
        if block.target is None:
            self.w.emit(f"br label %{self.w.out(Leave.INDIRECT if polls else Leave.FAR, target)}")
        else:
            self.lead(block.target, target, polls)

    def lead(self, to: int, pc: Value, polls: bool) -> None:
        """Go to a block of the region."""
        w = self.w
        w.here.edges.append((to, w.label))
        if not polls:
            w.emit(f"br label %b{to}")
            return
        poll = w.compute("load volatile i32, ptr %poll").text
        calm = w.compute(f"icmp eq i32 {poll}, 0").text
        w.emit(f"br i1 {calm}, label %b{to}, label %{w.out(Leave.POLL, pc)}, !prof !0")

    def indirect(self, block: Block, step: Step, to: Value) -> None:
        """A jalr: to where the region expects it to lead, or out."""
        w = self.w
        real = to if to.based else w.compute(f"and i64 {w.operand(to)}, -2")
        if to.based and to.constant is not None:
            real = address(to.constant & -2)
            if step.goes_to == (w.page + to.constant) & (1 << 64) - 2 and block.target is not None:
                self.take(block, step)
                return
        leave = w.out(Leave.INDIRECT, real)
        if block.cases:
            self.spread(block, real, leave)
        elif block.target is None or step.goes_to is None:
            w.emit(f"br label %{leave}")
        else:
            expected = w.operand(w.guest(step.goes_to))
            w.guard(w.compute(f"icmp eq i64 {w.operand(real)}, {expected}").text, leave, "back")
            self.take(block, step)

    def spread(self, block: Block, real: Value, leave: str) -> None:
        """A jump through a table: compare with all places that it is known to lead to."""
        w = self.w
        base = w.operand(address(0))
        offset = w.compute(f"sub i64 {w.operand(real)}, {base}").text
        cases = [(pc, to, f"c{block.number}.{k}") for k, (pc, to) in enumerate(block.cases)]
        table = " ".join(f"i64 {pc - w.page}, label %{label}" for pc, _, label in cases)
        w.emit(f"switch i64 {offset}, label %{leave} [ {table} ]")
        for pc, to, label in cases:
            w.begin(label)
            self.lead(to, w.guest(pc), True)

    def go(self, block: Block, step: Step) -> None:
        """Go on behind a step."""
        if block.following is None:
            self.w.emit(f"br label %{self.w.out(Leave.FAR, self.w.guest(step.after))}")
        else:
            self.lead(block.following, self.w.guest(step.after), False)
