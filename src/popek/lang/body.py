"""Typed tree of one function -> LLVM IR text of its body, in SSA form from the start (ssa.py).

Expressions live in values.py; here are statements and control flow.
"""

from __future__ import annotations

from typing import Any

from popek.lang import tree
from popek.lang.front import read
from popek.lang.functions import Function
from popek.lang.operations import Operations
from popek.lang.ssa import Block
from popek.lang.types import BOOL, IntType
from popek.lang.values import UNLIKELY, llvm_type

LIKELY = ", !prof !1"


class Body(Operations):
    """Writes the body of one function."""

    def text(self) -> str:
        """The instructions, label by label."""
        start = Block(self, "entry.0")
        start.sealed = True
        self.env = {p.name: f"%{p.name}" for p in self.definition.parameters}  # prefix is empty here
        self.lines.append("entry.0:")
        self.label = "entry.0"
        self.statements(self.definition.body)
        if self.env is not None:
            self.leave(None)
        self.begin(self.propagate)
        if self.env is not None:
            self.set_outcome("poison", "true")
        self.begin(self.outcome)
        if self.env is not None:
            self.finish()
        return "\n".join(self.flat())

    def leave(self, value: str | None) -> None:
        """Return from the function."""
        if self.returns:
            result, after = self.returns[-1]
            assert self.env is not None
            self.env[result] = value
            self.jump(after)
        elif self.raising:
            self.set_outcome(value or "poison", "false")
        else:
            self.end("ret void" if value is None else f"ret {self.result} {value}")

    def set_outcome(self, value: str, raised: str) -> None:
        """Go to the end of a function that may raise: the only return, so that LLVM merges numbers, not pairs."""
        assert self.env is not None
        self.env["outcome.value"], self.env["outcome.raised"] = value, raised
        self.jump(self.outcome)

    def finish(self) -> None:
        """Return value and flag."""
        raised = self.read("outcome.raised")
        if self.result == "i1" and self.plain == "void":
            self.end(f"ret i1 {raised}")
            return
        half = self.emit(f"insertvalue {self.result} poison, {self.plain} {self.read('outcome.value')}, 0")
        self.end(f"ret {self.result} {self.emit(f'insertvalue {self.result} {half}, i1 {raised}, 1')}")

    def inlined(self, target: Function, arguments: list[str]) -> str:
        """The body of another function, here; what it raises goes where this place's raises go."""
        assert self.env is not None
        before = self.env
        outer = self.definition, self.prefix, self.loops
        definition = read(target)
        self.definition, self.prefix, self.loops = definition, self.fresh("f") + ":", []
        self.types |= {self.prefix + name: type_ for name, type_ in definition.locals.items()}
        result, after = self.hidden("result", definition.result), Block(self)
        self.env = before | {self.prefix + p.name: a for p, a in zip(definition.parameters, arguments, strict=True)}
        self.returns.append((result, after))
        self.statements(definition.body)
        if self.env is not None:
            self.leave(None)
        self.returns.pop()
        self.definition, self.prefix, self.loops = outer
        if after.edges:
            self.begin(after)
            value = "" if definition.result is None else self.read(result)
            self.env = dict(before)  # the function could not change anything of ours
            return value
        self.begin_dead(after, before)  # it always raises
        return "" if definition.result is None else "poison"

    # -- statements --

    def statements(self, body: list[Any]) -> None:
        for statement in body:
            if self.env is None:
                return  # cannot be reached
            getattr(self, "do_" + type(statement).__name__)(statement)

    def do_Assign(self, node: tree.Assign) -> None:
        target = node.target
        if isinstance(target, tree.Local):
            value = self.value(node.value)
            self.env[self.prefix + target.name] = value  # type: ignore[index]
            return
        if isinstance(node.value, (tree.Const, tree.Local, tree.Null)):
            place = self.place(target)
            self.store(target, place, self.value(node.value))
        else:
            value = self.value(node.value)
            self.store(target, self.place(target), value)

    def do_Update(self, node: tree.Update) -> None:
        place = self.place(node.target)
        value = self.value(node.value)
        now = self.load(node.target, place)
        self.store(node.target, place, self.arithmetic(node.target.type, node.op, now, value, node.value.type))

    def do_Evaluate(self, node: tree.Evaluate) -> None:
        self.value(node.value)

    def do_If(self, node: tree.If) -> None:
        then, otherwise, after = Block(self), Block(self), Block(self)
        weights = LIKELY if node.expected > 0 else UNLIKELY if node.expected < 0 else ""
        self.branch(node.condition, then, otherwise if node.otherwise else after, weights)
        self.begin(then)
        self.statements(node.then)
        self.jump(after)
        if node.otherwise:
            self.begin(otherwise)
            self.statements(node.otherwise)
            self.jump(after)
        self.begin(after)

    def do_Match(self, node: tree.Match) -> None:
        subject, type_ = self.value(node.subject), llvm_type(node.subject.type)
        blocks, default, after = [Block(self) for _ in node.cases], Block(self), Block(self)
        env, targets = self.env, []
        assert env is not None
        for block, (values, _) in zip(blocks, node.cases, strict=True):
            targets += [f"{type_} {v}, label %{block.label}" for v in values]
            if values:
                block.edges.append((self.label, env))
        default.edges.append((self.label, env))
        self.end(f"switch {type_} {subject}, label %{default.label} [ {' '.join(targets)} ]")
        for block, body in [*zip(blocks, (body for _, body in node.cases), strict=True), (default, node.otherwise)]:
            self.begin(block)
            self.statements(body)
            self.jump(after)
        self.begin(after)

    def do_While(self, node: tree.While) -> None:
        head, body, after = Block(self), Block(self), Block(self)
        self.jump(head)
        self.begin_loop(head, {self.prefix + n for n in node.assigned})
        self.branch(node.condition, body, after, "")
        self.begin(body)
        self.loops.append((head, after))
        self.statements(node.body)
        self.loops.pop()
        self.jump(head)
        head.seal()
        self.begin(after)

    def do_For(self, node: tree.For) -> None:
        type_: IntType = node.variable.type
        counter = self.hidden("for", type_)
        start, stop = self.value(node.start), self.value(node.stop)
        self.env[counter] = start  # type: ignore[index]
        head, body, step, after = Block(self), Block(self), Block(self), Block(self)
        self.jump(head)
        self.begin_loop(head, {self.prefix + n for n in node.assigned} | {counter})
        now = self.read(counter)
        relation = ("s" if type_.signed else "u") + ("lt" if node.step > 0 else "gt")
        more = self.emit(f"icmp {relation} i{type_.bits} {now}, {stop}")
        self.fork(more, body, after, "")
        self.begin(body)
        self.env[self.prefix + node.variable.name] = now  # type: ignore[index]
        self.loops.append((step, after))
        self.statements(node.body)
        self.loops.pop()
        self.jump(step)
        self.begin(step)
        if self.env is not None:
            self.env[counter] = self.emit(f"add i{type_.bits} {self.read(counter)}, {type_(node.step)}")
            self.jump(head)
        head.seal()
        self.begin(after)

    def do_Break(self, node: tree.Break) -> None:
        self.jump(self.loops[-1][1])

    def do_Continue(self, node: tree.Continue) -> None:
        self.jump(self.loops[-1][0])

    def do_Return(self, node: tree.Return) -> None:
        self.leave(None if node.value is None else self.value(node.value))

    def do_Raise(self, node: tree.Raise) -> None:
        if node.cause is not None:
            cause, tval = self.value(node.cause), self.value(node.tval)
            stores = [] if self.program.bare_traps else [("trap_cause", cause), ("trap_tval", tval)]
            hart = self.read(self.prefix + node.hart.name)
            for name, value in stores:
                type_ = node.hart.type.fields[name]
                field = tree.Field(type_, node.hart, name, node.hart.type.offset(name))
                self.store(field, self.offset(hart, field.offset), value)
        self.jump(self.handlers[-1])

    def do_Try(self, node: tree.Try) -> None:
        handler, after = Block(self), Block(self)
        self.handlers.append(handler)
        self.statements(node.body)
        self.handlers.pop()
        self.jump(after)
        self.begin(handler)
        if self.env is not None:
            self.statements(node.handler)
            self.jump(after)
        self.begin(after)


__all__ = ["BOOL", "Body", "llvm_type"]
