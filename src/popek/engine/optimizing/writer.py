"""Writes the text of one block after the other: names, labels, registers' values, checked accesses.

Lives here: what `steps` and `control` write with. Not here: what they write, nor the order of blocks (lower).
"""

from __future__ import annotations

from popek.engine.optimizing.exits import Exits
from popek.engine.optimizing.form import Step
from popek.engine.optimizing.frame import BOX, Count, Leave, Snapshot, State, boxed
from popek.engine.optimizing.image import PAGE
from popek.engine.optimizing.memory import Access
from popek.engine.optimizing.tables import Layout
from popek.engine.optimizing.values import FLOAT_REGISTERS, Value, address, based, number, plain, signed

FAR_BACK = 16  # instructions that a way out may go back: what they overwrote has to be held until then
OUTSIDE = -1  # where values are defined that a region gets: on entry


class Text:
    """One block's text, and what holds at its end."""

    def __init__(self) -> None:
        self.lines: list[str | Access] = []
        self.edges: list[tuple[int, str | Access]] = []  # (block that follows, label that control leaves from)
        self.registers: list[Value] = []
        self.others: dict[int, Value] = {}
        self.count = Count("%count", 0)
        self.first: State  # on entry
        self.first_count = self.count
        self.phis: list[int] = []
        self.counts = False  # has a phi of the count

    def value(self, register: int, type: str) -> str:
        """LLVM's operand for a register at the block's end, in a type that it has there."""
        value = self.registers[register]
        return value.text if value.type == type else self.others[register].text

    @property
    def accesses(self) -> list[Access]:
        """In order."""
        return [line for line in self.lines if isinstance(line, Access)]


class Writer:
    """The text being written. `begin_block` turns to another block."""

    def __init__(self, layout: Layout, entry: int) -> None:
        self.page = entry & -PAGE
        self.initial = [
            *(number(0) if r == 0 else plain(f"%e{r}") for r in range(FLOAT_REGISTERS)),
            *(Value(f"%e{r}", "double") for r in range(FLOAT_REGISTERS, 2 * FLOAT_REGISTERS)),
        ]
        self.exits = Exits(layout, self.initial)
        self.floats = False  # has anything used floating point?
        self.homes = {"0": OUTSIDE, "@base": OUTSIDE}  # of values' names: the block that defines them
        self.halves: dict[str, tuple[str, str]] = {}  # of sums: their two parts, where the second one was shifted
        self.shifted: set[str] = set()
        self.names = 0
        self.block = 0
        self.here = Text()
        self.label: str | Access = ""
        self.state = State(self.initial, {})
        self.retreat: tuple[Value, Snapshot, Count] | None = None

    def begin_block(self, block: int, text: Text, state: State) -> None:
        """From here on the text is that of a block."""
        self.block, self.here, self.state, self.retreat = block, text, state, None
        text.first, text.first_count = State(list(state.values), {}), text.count
        self.begin(f"b{block}")

    # -- lines --

    def name(self) -> str:
        """A new local name."""
        self.names += 1
        name = f"%v{self.names}"
        self.homes[name] = self.block
        return name

    def emit(self, line: str) -> None:
        """Add a line to the block."""
        self.here.lines.append(f"  {line}")

    def begin(self, label: str) -> None:
        """Begin an LLVM block."""
        self.here.lines.append(f"{label}:")
        self.label = label

    def compute(self, text: str) -> Value:
        """An integer from one LLVM instruction."""
        name = self.name()
        self.emit(f"{name} = {text}")
        return plain(name)

    def guard(self, condition: str, leave: str, name: str) -> None:
        """Go on only if the condition holds."""
        self.names += 1
        label = f"{name}{self.names}"
        self.emit(f"br i1 {condition}, label %{label}, label %{leave}, !prof !0")
        self.begin(label)

    # -- values --

    def sum(self, value: Value, offset: int) -> Value:
        """value + offset."""
        if value.constant is not None:
            return address(value.constant + offset) if value.based else number(value.constant + offset)
        total = signed(value.offset + offset)
        if total == 0:
            return plain(value.root)
        made = self.compute(f"add i64 {value.root}, {total}")
        return Value(made.text, root=value.root, offset=total)

    def operand(self, value: Value) -> str:
        """LLVM's operand for a value."""
        if value.text:
            return value.text
        assert value.constant is not None
        lines, text = based(value.constant, self.name)
        self.here.lines.extend(lines)
        return text

    def guest(self, pc: int) -> Value:
        """A guest address as a value."""
        return address(pc - self.page)

    def floating(self, register: int, type: str) -> Value | None:
        """f<register> as raw bits in a double, or as a single's number; None if it is not known to be NaN-boxed."""
        value = self.state[FLOAT_REGISTERS + register]
        other = self.state.others.get(FLOAT_REGISTERS + register)
        if value.type == type:
            return value
        if other is None and type == "double":
            lines, text = boxed(value, self.name)
            self.here.lines.extend(lines)
            other = self.state.others[FLOAT_REGISTERS + register] = Value(text, "double")
        return other

    def bits(self, register: int) -> Value:
        """f<register> as raw bits in a double."""
        value = self.floating(register, "double")
        assert value is not None
        return value

    def single(self, register: int, leave: str) -> Value:
        """f<register> as a single's number; what is not NaN-boxed is left to the long way."""
        value = self.floating(register, "float")
        if value is not None:
            return value
        bits = self.compute(f"bitcast double {self.state[FLOAT_REGISTERS + register].text} to i64").text
        self.guard(self.compute(f"icmp uge i64 {bits}, {BOX}").text, leave, "boxed")
        low = self.compute(f"trunc i64 {bits} to i32").text
        value = Value(self.compute(f"bitcast i32 {low} to float").text, "float")
        self.state.others[FLOAT_REGISTERS + register] = value
        return value

    # -- leaving, and what may leave --

    def retired(self, instructions: int) -> None:
        """Count them."""
        self.here.count = Count(self.here.count.text, self.here.count.add + instructions)

    def out(self, kind: Leave, pc: Value) -> str:
        """The label of the way out to a guest address."""
        return self.exits.to(kind, pc, self.state.snapshot(), self.here.count)

    def leave(self, step: Step) -> str:
        """The label of a way out for what this step may not be able to do: to be done the long way.

        Steps that can be done again share the way out of the first one: it goes back there.
        """
        if self.retreat is None or self.here.count.add - self.retreat[2].add > FAR_BACK:
            self.retreat = self.guest(step.pc), self.state.snapshot(), self.here.count
        return self.exits.to(Leave.STEP, *self.retreat)

    def happened(self) -> None:
        """The last step must not be done again: it stored something, or raised flags that were to be seen later."""
        self.retreat = None

    def access(self, step: Step, address: Value, offset: int, size: int, write: bool) -> str:
        """Check an access; the host's address of what lies at address + offset."""
        name = self.name()
        offset = signed(address.offset + offset)
        access = Access(name, address.root, offset, size, write, self.leave(step), self.label)
        self.here.lines.append(access)
        self.label = access
        return name
