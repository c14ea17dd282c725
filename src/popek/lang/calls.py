"""Calls in the subset: conversions, intrinsics, functions. Syntax tree -> typed tree, the part of front.py on calls."""

from __future__ import annotations

import ast
from typing import Any

from popek.lang import tree
from popek.lang.expressions import NeedsType, Static
from popek.lang.functions import Accessor, Function, Intrinsic, Trap
from popek.lang.operators import Operators
from popek.lang.types import BOOL, ArrayType, IntType, StructMeta, i64, name_of, u8, u64

_READ_MODIFY_WRITE = {"add", "sub", "or", "and", "xor", "swap"}


class Calls(Operators):
    """Expressions, and what a call in them means."""

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self.calls: list[tuple[Function, bool]] = []
        self.protected = 0  # how many `try` are around here

    def read_Call(self, node: ast.Call, expected: Any) -> Any:
        callee = self.expression(node.func, None)
        target = callee.value if isinstance(callee, Static) else None
        if isinstance(target, Function):
            return self.call(target, node)
        if node.keywords:
            self.fail(node, "keyword arguments only in calls of subset functions")
        if isinstance(target, IntType):
            return self.convert(target, node)
        if isinstance(target, Accessor):
            self.count(node, 1)
            return tree.Memory(target.type, self.value(node.args[0], u64))
        if isinstance(target, Intrinsic):
            kind, _, rest = target.name.partition("_")
            if kind == "atomic":
                return self.atomic(rest, node)
            return getattr(self, "make_" + target.name)(node, expected)
        if target in (min, max):
            return self.make_extreme("<" if target is min else ">", node, expected)
        if target is bool and len(node.args) == 1:
            return self.condition(node.args[0])
        if target is Trap:
            self.fail(node, "Trap can only be raised")
        self.fail(node, f"{ast.unparse(node.func)} cannot be called in the subset")

    def count(self, node: ast.Call, wanted: int) -> None:
        """Check the number of arguments."""
        if len(node.args) != wanted:
            self.fail(node, f"{ast.unparse(node.func)} takes {wanted} arguments, not {len(node.args)}")

    def call(self, target: Function, node: ast.Call) -> Any:
        """Call of a subset function."""
        from popek.lang.front import signature

        parameters, result = signature(target)
        given: dict[str, ast.expr] = {p.name: a for p, a in zip(parameters, node.args, strict=False)}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in given or keyword.arg not in {p.name for p in parameters}:
                self.fail(node, f"bad keyword argument {keyword.arg}")
            given[keyword.arg] = keyword.value
        if len(node.args) + len(node.keywords) != len(parameters):
            self.fail(node, f"{target.__name__} takes {len(parameters)} arguments")
        arguments = [self.value(given[p.name], p.type) for p in parameters]
        self.calls.append((target, self.protected > 0))
        return tree.Call(result, target, arguments)

    def convert(self, type_: IntType, node: ast.Call) -> Any:
        """u8(x) and so on."""
        self.count(node, 1)
        try:
            a = self.expression(node.args[0], None)
        except NeedsType:
            a = self.expression(node.args[0], type_)
        if isinstance(a, tree.Const):
            return tree.Const(type_, type_(a.value))
        if a.type is not BOOL and not isinstance(a.type, IntType):
            self.fail(node, f"{name_of(a.type)} cannot be converted to {type_}")
        return a if a.type is type_ else tree.Convert(type_, a)

    def variable(self, node: ast.expr) -> Any:
        """A number in memory (for atomics)."""
        found = self.expression(node, None)
        if not isinstance(found, (tree.Field, tree.Index, tree.Memory)) or not isinstance(found.type, IntType):
            self.fail(node, "an atomic operation needs a number in memory: a field, array item, or at_uN(...)")
        return found

    def atomic(self, op: str, node: ast.Call) -> Any:
        """atomic_xxx(variable, ...)"""
        self.count(node, 1 + {"load": 0, "cas": 2}.get(op, 1))
        variable = self.variable(node.args[0])
        arguments = [self.value(a, variable.type) for a in node.args[1:]]
        type_ = BOOL if op == "cas" else None if op in ("store", "release") else variable.type
        return tree.Atomic(type_, op, variable, arguments)

    def number(self, node: ast.expr, expected: Any) -> Any:
        """An operand that must be an integer; `expected` gives literals a type."""
        a = self.expression(node, expected)
        if a.type is None and isinstance(expected, IntType):
            a = self.adapt(a, expected, node)
        if not isinstance(a.type, IntType):
            self.fail(node, "a number with a type is needed here", NeedsType)
        return a

    def operation(self, name: str, node: ast.Call, expected: Any) -> Any:
        """An intrinsic whose arguments and result are of one type."""
        a = self.number(node.args[0], expected)
        return tree.Operation(a.type, name, [a, *(self.value(b, a.type) for b in node.args[1:])])

    def make_clz(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 1)
        return self.operation("clz", node, expected)

    def make_ctz(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 1)
        return self.operation("ctz", node, expected)

    def make_popcount(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 1)
        return self.operation("popcount", node, expected)

    def make_bswap(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 1)
        found = self.operation("bswap", node, expected)
        return found.arguments[0] if found.type.bits == 8 else found

    def rotation(self, name: str, node: ast.Call, expected: Any) -> Any:
        self.count(node, 2)
        a = self.number(node.args[0], expected)
        b = self.expression(node.args[1], u64)
        if isinstance(b, tree.Const):
            b = tree.Const(a.type, b.value % a.type.bits)
        elif not isinstance(b.type, IntType):
            self.fail(node, "a rotation amount must be a number")
        if a.type.signed:
            self.fail(node, f"{name} on signed numbers")
        return tree.Operation(a.type, name, [a, b])

    def make_rotl(self, node: ast.Call, expected: Any) -> Any:
        return self.rotation("rotl", node, expected)

    def make_rotr(self, node: ast.Call, expected: Any) -> Any:
        return self.rotation("rotr", node, expected)

    def division(self, name: str, node: ast.Call, expected: Any) -> Any:
        self.count(node, 2)
        try:
            found = self.operation(name, node, expected)
        except NeedsType:
            found = self.operation(name, node, self.number(node.args[1], None).type)
        if not found.type.signed:
            self.fail(node, f"{name} is for signed numbers")
        return found

    def make_sdiv(self, node: ast.Call, expected: Any) -> Any:
        return self.division("sdiv", node, expected)

    def make_srem(self, node: ast.Call, expected: Any) -> Any:
        return self.division("srem", node, expected)

    def make_extreme(self, op: str, node: ast.Call, expected: Any) -> Any:
        """min(a, b), max(a, b)"""
        self.count(node, 2)
        a = self.expression(node.args[0], expected)
        b = self.expression(node.args[1], a.type or expected)
        type_ = a.type or b.type
        if not isinstance(type_, IntType):
            self.fail(node, "min and max need numbers of one type")
        name = "min" if op == "<" else "max"
        return tree.Operation(type_, name, [self.adapt(a, type_, node), self.adapt(b, type_, node)])

    def make_likely(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 1)
        return self.hint("likely", self.condition(node.args[0]))

    def make_unlikely(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 1)
        return self.hint("unlikely", self.condition(node.args[0]))

    def hint(self, name: str, condition: Any) -> Any:
        return condition if isinstance(condition, tree.Const) else tree.Operation(BOOL, name, [condition])

    def make_fence(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 0)
        return tree.Operation(None, "fence", [])

    def make_spin_hint(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 0)
        return tree.Operation(None, "spin_hint", [])

    def make_memcpy(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 3)
        return tree.Operation(None, "memcpy", [self.value(a, u64) for a in node.args])

    def make_memset(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 3)
        to, value, count = node.args
        return tree.Operation(None, "memset", [self.value(to, u64), self.value(value, u8), self.value(count, u64)])

    def make_addr_of(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 1)
        found = self.expression(node.args[0], None)
        if isinstance(found, Static) and isinstance(found.value, Function):
            self.addressed.append(found.value)
            return tree.AddressOf(u64, found.value)
        if isinstance(found, Static) or found.type is None:
            self.fail(node, "addr_of needs a variable in memory, a struct or a function")
        memory = isinstance(found, (tree.Field, tree.Index, tree.Memory))
        if not memory and not isinstance(found.type, (StructMeta, ArrayType)):
            self.fail(node, "addr_of needs a variable in memory: locals have no address")
        return tree.AddressOf(u64, found)

    def make_cast(self, node: ast.Call, expected: Any) -> Any:
        self.count(node, 2)
        target = self.annotation(node.args[0])
        found = self.expression(node.args[1], u64)
        if found.type is None:
            found = self.adapt(found, u64, node)
        if not isinstance(target, StructMeta) or not (isinstance(found.type, StructMeta) or found.type is u64):
            self.fail(node, "cast(Struct, pointer or u64 address)")
        return tree.Cast(target, found)

    def make_invoke(self, node: ast.Call, expected: Any) -> Any:
        if len(node.args) < 2:
            self.fail(node, "invoke(result type or None, address, ...)")
        head = node.args[0]
        nothing = isinstance(head, ast.Constant) and head.value is None
        result = None if nothing else self.annotation(head)
        arguments = []
        for argument in node.args[2:]:
            value = self.expression(argument, i64)
            arguments.append(self.adapt(value, u64, argument) if value.type is None else value)
        return tree.Invoke(result, self.value(node.args[1], u64), arguments)
