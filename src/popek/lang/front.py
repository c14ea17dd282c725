"""Source of a subset function -> typed tree (tree.py). Statements and signatures; expressions are elsewhere."""

from __future__ import annotations

import ast
from typing import Any

from popek.lang import tree
from popek.lang.calls import Calls
from popek.lang.expressions import Static
from popek.lang.flow import ends
from popek.lang.functions import Function, Trap
from popek.lang.operators import BINARY
from popek.lang.source import deep, statements, syntax
from popek.lang.types import BOOL, IntType, StructMeta, name_of, u64

_signatures: dict[int, tuple[Function, list[tree.Local], Any]] = {}


def signature(function: Function) -> tuple[list[tree.Local], Any]:
    """Parameters and result type of a function (None: no result)."""
    known = _signatures.get(id(function))
    if known is None:
        reader = Front(function)
        known = _signatures[id(function)] = (function, reader.parameters(), reader.result_type())
    return known[1], known[2]


def read(function: Function) -> tree.Definition:
    """The typed tree of a function; read once."""
    if function.tree is None:
        with deep():
            function.tree = Front(function).definition()
    return function.tree


def _stored_names(node: ast.FunctionDef) -> set[str]:
    names = {a.arg for a in node.args.args}
    for part in statements(node.body):
        targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
        for target in targets:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(name, ast.Name):
                    names.add(name.id)
    return names


class Front(Calls):
    """Reads one function."""

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self.node = syntax(function)
        self.loops: list[set[str]] = []  # names assigned in the loops around here
        self.raises = False
        self.handlers = 0  # inside how many `except Trap:` are we?

    def parameters(self) -> list[tree.Local]:
        arguments = self.node.args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs or arguments.defaults:
            self.fail(self.node, "only plain parameters without defaults")
        found = []
        for argument in arguments.args:
            if argument.annotation is None:
                self.fail(argument, f"parameter {argument.arg} needs a type")
            found.append(tree.Local(self.declared(argument.arg, argument.annotation), argument.arg))
        return found

    def declared(self, name: str, annotation: ast.expr) -> Any:
        """Type of a parameter or result: as evaluated by Python if it was, else looked up."""
        evaluated = self.scope.annotations.get(name)
        if evaluated is not None and not isinstance(evaluated, str):
            return self.as_type(evaluated, annotation)
        return self.annotation(annotation)

    def result_type(self) -> Any:
        node = self.node.returns
        if node is None or (isinstance(node, ast.Constant) and node.value is None):
            return None
        return self.declared("return", node)

    def definition(self) -> tree.Definition:
        parameters, self.result = signature(self.function)
        self.names = _stored_names(self.node)
        self.types = {p.name: p.type for p in parameters}
        self.hart = next(
            (p for p in parameters if isinstance(p.type, StructMeta) and "trap_cause" in p.type.fields), None
        )
        body = self.block(self.node.body)
        if self.result is not None and self.function.kind == "fn" and not ends(body):
            self.fail(self.node, f"may end without returning a {name_of(self.result)}")
        return tree.Definition(
            self.function, parameters, self.result, body, self.types, self.calls, self.raises, self.tables,
            self.addressed, self.count_expressions,
        )  # fmt: skip

    # -- statements --

    def block(self, statements: list[ast.stmt]) -> list[Any]:
        found: list[Any] = []
        for statement in statements:
            method = getattr(self, "do_" + type(statement).__name__, None)
            if method is None:
                self.fail(statement, f"{type(statement).__name__} is not in the subset")
            made = method(statement)
            if isinstance(made, list):
                found.extend(made)
            elif made is not None:
                found.append(made)
            if found and isinstance(found[-1], (tree.Return, tree.Raise, tree.Break, tree.Continue)):
                break  # what follows is never reached, e.g. because of a condition known now
        return found

    def do_Pass(self, node: ast.Pass) -> None:
        return None

    def do_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Constant):
            return None  # a docstring or ...
        value = self.expression(node.value, None)
        if isinstance(value, Static):
            self.fail(node, "this has no effect")
        return tree.Evaluate(value)

    def assigned(self, name: str) -> None:
        """Note that a local is assigned here."""
        for names in self.loops:
            names.add(name)

    def target(self, node: ast.expr) -> Any:
        """What stands left of `=`."""
        if isinstance(node, ast.Name):
            self.assigned(node.id)
            return tree.Local(self.types[node.id], node.id)
        found = self.expression(node, None)
        if not isinstance(found, (tree.Field, tree.Index, tree.Memory)):
            self.fail(node, f"{ast.unparse(node)} cannot be assigned")
        if isinstance(found.type, IntType) or found.type is BOOL or getattr(found, "pointer", False):
            return found
        self.fail(node, f"a {name_of(found.type)} cannot be assigned as a whole")

    def do_Assign(self, node: ast.Assign) -> Any:
        if len(node.targets) != 1:
            self.fail(node, "one target at a time")
        left = node.targets[0]
        if isinstance(left, ast.Tuple):
            return self.several(left, node)
        if isinstance(left, ast.Name) and left.id not in self.types:
            value = self.typed(node.value, f"the first value of {left.id}")
            self.types[left.id] = value.type
        else:
            wanted = self.types[left.id] if isinstance(left, ast.Name) else self.target(left).type
            value = self.value(node.value, wanted)
        return tree.Assign(self.target(left), value)

    def several(self, left: ast.Tuple, node: ast.Assign) -> Any:
        """a, b = x, y: all values are computed before the first is assigned."""
        right = node.value
        if not isinstance(right, ast.Tuple) or len(right.elts) != len(left.elts):
            self.fail(node, "a tuple assignment needs as many values as targets")
        first, then = [], []
        for i, (to, value) in enumerate(zip(left.elts, right.elts, strict=True)):
            if isinstance(to, ast.Name) and to.id not in self.types:
                found = self.typed(value)
                self.types[to.id] = found.type
            else:
                found = self.value(value, self.types[to.id] if isinstance(to, ast.Name) else self.target(to).type)
            name = f"_{node.lineno}_{node.col_offset}_{i}"
            self.types[name] = found.type
            self.assigned(name)
            first.append(tree.Assign(tree.Local(found.type, name), found))
            then.append(tree.Assign(self.target(to), tree.Local(found.type, name)))
        return first + then

    def do_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if not isinstance(node.target, ast.Name):
            self.fail(node, "only locals are annotated")
        name, type_ = node.target.id, self.annotation(node.annotation)
        if self.types.get(name, type_) != type_:
            self.fail(node, f"{name} already is a {name_of(self.types[name])}")
        value = None if node.value is None else self.value(node.value, type_)
        self.types[name] = type_
        return None if value is None else tree.Assign(self.target(node.target), value)

    def do_AugAssign(self, node: ast.AugAssign) -> Any:
        op = BINARY.get(type(node.op))
        if op is None:
            self.fail(node, "operator is not in the subset")
        if isinstance(node.target, ast.Name) and node.target.id not in self.types:
            self.fail(node, f"{node.target.id} is used before it is assigned")
        target = self.target(node.target)
        whole = self.binary(op, target, node.value, node, target.type)
        if isinstance(node.target, ast.Name) or not isinstance(whole, tree.Binary):
            return tree.Assign(target, whole)
        return tree.Update(target, op, whole.b)

    def do_If(self, node: ast.If) -> Any:
        condition = self.condition(node.test)
        if isinstance(condition, tree.Const):
            return self.block(node.body if condition.value else node.orelse)
        condition, expected = _hint(condition)
        return tree.If(condition, self.block(node.body), self.block(node.orelse), expected)

    def do_Match(self, node: ast.Match) -> Any:
        subject = self.typed(node.subject)
        if not isinstance(subject.type, IntType):
            self.fail(node, "match needs a number")
        cases: list[tuple[list[int], list[Any]]] = []
        otherwise: list[Any] = []
        seen: set[int] = set()
        for case in node.cases:
            if case.guard is not None:
                self.fail(case.pattern, "case ... if is not in the subset")
            if isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and case.pattern.name is None:
                otherwise = self.block(case.body)
                break
            values = [v for v in self.pattern(case.pattern, subject.type) if v not in seen]
            seen.update(values)
            cases.append((values, self.block(case.body)))
        return tree.Match(subject, cases, otherwise)

    def pattern(self, node: ast.pattern, type_: IntType) -> list[int]:
        """The numbers that a pattern stands for."""
        if isinstance(node, ast.MatchOr):
            return [v for part in node.patterns for v in self.pattern(part, type_)]
        if not isinstance(node, ast.MatchValue):
            self.fail(node, "only numbers, names with a dot, `|` and `_` as patterns")
        found = self.value(node.value, type_)
        if not isinstance(found, tree.Const):
            self.fail(node, "a pattern must be a known number")
        return [found.value]

    def do_While(self, node: ast.While) -> Any:
        if node.orelse:
            self.fail(node, "while ... else is not in the subset")
        condition, _ = _hint(self.condition(node.test))
        if isinstance(condition, tree.Const) and not condition.value:
            return None
        self.loops.append(set())
        body = self.block(node.body)
        return tree.While(condition, body, self.loops.pop())

    def do_For(self, node: ast.For) -> Any:
        call, variable = node.iter, node.target
        if node.orelse or not isinstance(variable, ast.Name):
            self.fail(node, "for name in range(...), without else")
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
            self.fail(node, "only `for name in range(...)`")
        type_ = self.types.setdefault(variable.id, u64)
        if not isinstance(type_, IntType) or not 1 <= len(call.args) <= 3:
            self.fail(node, "for name in range(...) needs an integer and 1 to 3 arguments")
        zero: ast.expr = ast.copy_location(ast.Constant(0), node)
        limits = [zero, *call.args] if len(call.args) == 1 else call.args
        step = self.expression(limits[2], None) if len(limits) == 3 else tree.Const(None, 1)
        if not isinstance(step, tree.Const) or step.value == 0:
            self.fail(node, "the step of a range must be a known number")
        start, stop = self.limit(limits[0], type_), self.limit(limits[1], type_)
        self.loops.append(set())
        self.assigned(variable.id)
        body = self.block(node.body)
        return tree.For(tree.Local(type_, variable.id), start, stop, step.value, body, self.loops.pop())

    def limit(self, node: ast.expr, type_: IntType) -> Any:
        """A bound of a range; narrower unsigned numbers widen by themselves."""
        found = self.expression(node, type_)
        if isinstance(found.type, IntType) and not found.type.signed and found.type.bits < type_.bits:
            return tree.Convert(type_, found)
        return self.adapt(found, type_, node)

    def do_Break(self, node: ast.Break) -> Any:
        return tree.Break()

    def do_Continue(self, node: ast.Continue) -> Any:
        return tree.Continue()

    def do_Return(self, node: ast.Return) -> Any:
        nothing = node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
        if self.result is None or node.value is None:
            if self.result is not None or not nothing:
                self.fail(node, f"the result is declared as {name_of(self.result) if self.result else 'None'}")
            return tree.Return(None)
        return tree.Return(self.value(node.value, self.result))

    def do_Raise(self, node: ast.Raise) -> Any:
        if self.hart is None:
            self.fail(node, "raising needs a parameter whose struct has trap_cause and trap_tval")
        self.raises = self.raises or not self.protected
        if node.exc is None:
            if not self.handlers:
                self.fail(node, "a bare raise belongs into `except Trap:`")
            return tree.Raise(self.hart, None, None)
        call = node.exc
        if not isinstance(call, ast.Call) or len(call.args) != 2 or self.scope_value(call.func) is not Trap:
            self.fail(node, "only `raise Trap(cause, tval)`")
        fields = self.hart.type.fields
        cause = self.value(call.args[0], fields["trap_cause"])
        return tree.Raise(self.hart, cause, self.value(call.args[1], fields["trap_tval"]))

    def scope_value(self, node: ast.expr) -> Any:
        found = self.expression(node, None)
        return found.value if isinstance(found, Static) else None

    def do_Try(self, node: ast.Try) -> Any:
        one = len(node.handlers) == 1 and not node.orelse and not node.finalbody
        kind = node.handlers[0].type if one else None
        if kind is None or node.handlers[0].name or self.scope_value(kind) is not Trap:
            self.fail(node, "only `try: ... except Trap: ...`")
        self.protected += 1
        body = self.block(node.body)
        self.protected -= 1
        self.handlers += 1
        handler = self.block(node.handlers[0].body)
        self.handlers -= 1
        return tree.Try(body, handler)


def _hint(condition: Any) -> tuple[Any, int]:
    """Take likely()/unlikely() off a condition."""
    if isinstance(condition, tree.Operation) and condition.name in ("likely", "unlikely"):
        return condition.arguments[0], 1 if condition.name == "likely" else -1
    return condition, 0
