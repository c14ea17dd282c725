"""The ways out of a region, and what they have in common.

Lives here: the text of all that leads out of a region's blocks. Not here: where they lead out (steps, control), what
the other end expects (frame).

A way out has to write each register that changed, and there are many ways out; but neighbours write mostly the same. So
ways that go to the same place meet, in groups and groups of groups, and what all of a group write is written where they
have met. That is most of a region's text saved, and of the time that it takes to compile.
"""

from __future__ import annotations

import re

from popek.engine.optimizing.frame import Count, Leave, Snapshot, boxed, store, tail
from popek.engine.optimizing.tables import Layout
from popek.engine.optimizing.values import Value, based, number, plain

GROUP = 4  # ways that meet at one place

_OUT = re.compile(r"%out(\d+)\b")


class Way:
    """The end of one way out, or of several that have met: what is still to be written and to be handed over.

    `pc`: where to go on; a number is relative to BASE.
    """

    __slots__ = ("label", "lines", "values", "pins", "count", "pc")

    def __init__(self, label: str, values: dict[int, Value], pins: list[Value], count: Count, pc: Value) -> None:
        self.label = label
        self.lines: list[str] = []
        self.values = values
        self.pins = pins
        self.count = count
        self.pc = pc


class Exits:
    """The ways out of one region. `initial`: the registers on entry."""

    def __init__(self, layout: Layout, initial: list[Value]) -> None:
        self.layout = layout
        self.initial = initial
        self.labels: dict[tuple[Leave, Value, int, Count], str] = {}
        self.held: list[tuple[Leave, Value, Snapshot, Count]] = []  # keeps the snapshots' ids unique
        self.names = 0
        self.done: list[Way] = []

    def to(self, kind: Leave, pc: Value, snapshot: Snapshot, count: Count) -> str:
        """The label of the way out to a guest address with this state; equal ones are one."""
        key = kind, pc, id(snapshot), count
        if key not in self.labels:
            self.labels[key] = f"out{len(self.held)}"
            self.held.append((kind, pc, snapshot, count))
        return self.labels[key]

    def text(self, body: str) -> str:
        """Those that the region's blocks lead to."""
        kinds: dict[tuple[Leave, bool], list[Way]] = {}
        for n in sorted({int(n) for n in _OUT.findall(body)}):
            kind, pc, snapshot, count = self.held[n]
            changed = {
                r: value
                for r, value in enumerate(snapshot)
                if value is not self.initial[r] and r not in self.layout.pins
            }
            to = number(pc.constant) if pc.based and pc.constant is not None else pc
            way = Way(f"out{n}", changed, [snapshot[r] for r in self.layout.pins], count, to)
            kinds.setdefault((kind, pc.based), []).append(way)
        for (kind, relative), ways in kinds.items():
            while len(ways) > 1:
                ways = [self.meet(ways[i : i + GROUP]) for i in range(0, len(ways), GROUP)]
            self.leave(kind, relative, ways[0])
        return "".join(f"{way.label}:\n" + "\n".join(way.lines) + "\n" for way in self.done)

    def name(self) -> str:
        """A new local name."""
        self.names += 1
        return f"%o{self.names}"

    def operand(self, way: Way, value: Value) -> str:
        """LLVM's operand for a value at the end of a way."""
        if value.text:
            return value.text
        assert value.constant is not None
        lines, text = based(value.constant, self.name)
        way.lines += lines
        return text

    def write(self, way: Way, registers: dict[int, Value]) -> None:
        """Write registers to the hart."""
        for r, value in registers.items():
            text, type = self.operand(way, value), value.type
            if type == "float":
                lines, text = boxed(value, self.name)
                way.lines += lines
                type = "double"
            way.lines.append(store(self.layout, self.name(), r, type, text))

    def meet(self, ways: list[Way]) -> Way:
        """Let ways go on together."""
        first, *others = ways
        if not others:
            return first
        common = {r: v for r, v in first.values.items() if all(way.values.get(r) == v for way in others)}
        for way in ways:
            self.write(way, {r: value for r, value in way.values.items() if r not in common})
        self.names += 1
        met = Way(f"meet{self.names}", common, [], first.count, first.pc)
        met.pins = [self.joined(met, ways, [way.pins[i] for way in ways]) for i in range(len(first.pins))]
        met.pc = self.joined(met, ways, [way.pc for way in ways])
        texts = {way.count.text for way in ways}
        if len(texts) == 1:
            more = self.joined(met, ways, [number(way.count.add) for way in ways])
            if more.constant is None:
                total = self.name()
                met.lines.append(f"  {total} = add i64 {first.count.text}, {more.text}")
                met.count = Count(total, 0)
        else:
            met.count = Count(self.joined(met, ways, [plain(self.retired(way)) for way in ways]).text, 0)
        for way in ways:
            way.lines.append(f"  br label %{met.label}")
        self.done += ways
        return met

    def joined(self, met: Way, ways: list[Way], values: list[Value]) -> Value:
        """What is one of the values, by where one comes from."""
        if all(value == values[0] for value in values):
            return values[0]
        parts = [f"[ {self.operand(way, value)}, %{way.label} ]" for way, value in zip(ways, values, strict=True)]
        name = self.name()
        met.lines.insert(0, f"  {name} = phi i64 {', '.join(parts)}")
        return plain(name)

    def retired(self, way: Way) -> str:
        """LLVM's operand for the count."""
        if not way.count.add:
            return way.count.text
        total = self.name()
        way.lines.append(f"  {total} = add i64 {way.count.text}, {way.count.add}")
        return total

    def leave(self, kind: Leave, relative: bool, way: Way) -> None:
        """The end of all ways of a kind."""
        self.write(way, way.values)
        if relative:
            base, pc = self.name(), self.name()
            way.lines += [f"  {base} = load i64, ptr @base", f"  {pc} = add i64 {base}, {way.pc.text}"]
        else:
            pc = self.operand(way, way.pc)
        count = self.retired(way)
        way.lines.append(tail(kind.value, count, [self.operand(way, value) for value in way.pins], pc))
        self.done.append(way)
