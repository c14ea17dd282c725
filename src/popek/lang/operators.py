"""Operators of the subset: arithmetic, comparison, logic. Syntax tree -> typed tree; known numbers are computed now."""

from __future__ import annotations

import ast
from typing import Any

from popek.lang import tree
from popek.lang.expressions import Expressions, NeedsType, Static
from popek.lang.types import BOOL, IntType, name_of, u64

BINARY = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
COMPARE = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "==", ast.IsNot: "!=",
}  # fmt: skip


def fold(op: str, a: int, b: int) -> int:
    """The value of a binary operation on plain numbers."""
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "&":
            return a & b
        case "|":
            return a | b
        case "^":
            return a ^ b
        case "<<":
            return a << b
        case ">>":
            return a >> b
        case "//":
            return a // b
    return a % b


def compare(op: str, a: int, b: int) -> bool:
    """The value of a comparison of plain numbers."""
    match op:
        case "==":
            return a == b
        case "!=":
            return a != b
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
    return a >= b


class Operators(Expressions):
    """Expressions, and the operators in them."""

    def read_UnaryOp(self, node: ast.UnaryOp, expected: Any) -> Any:
        if isinstance(node.op, ast.Not):
            a = self.condition(node.operand)
            return tree.Const(BOOL, 1 - a.value) if isinstance(a, tree.Const) else tree.Unary(BOOL, "!", a)
        a = self.expression(node.operand, expected)
        op = {ast.USub: "-", ast.Invert: "~", ast.UAdd: "+"}[type(node.op)]
        if isinstance(a, tree.Const) and a.type is not BOOL:
            number = -a.value if op == "-" else ~a.value if op == "~" else a.value
            return tree.Const(a.type, a.type(number) if a.type else number)
        if not isinstance(a.type, IntType):
            self.fail(node, f"{op} needs a number")
        return a if op == "+" else tree.Unary(a.type, op, a)

    def read_BinOp(self, node: ast.BinOp, expected: Any) -> Any:
        op = BINARY.get(type(node.op))
        if op is None:
            self.fail(node, f"operator of {ast.unparse(node)} is not in the subset")
        try:
            a = self.expression(node.left, expected)
        except NeedsType:
            a = self.expression(node.left, self.typed(node.right).type)
        return self.binary(op, a, node.right, node, expected)

    def binary(self, op: str, a: Any, right: ast.expr, node: Any, expected: Any) -> Any:
        """a op right, with literals adapting to the other side."""
        shift = op in ("<<", ">>")
        b = self.expression(right, u64 if shift else a.type or expected)
        if isinstance(a, Static) or isinstance(b, Static):
            self.fail(node, f"{ast.unparse(node)} has an operand that is not a value")
        if a.type is None and b.type is None:
            return tree.Const(None, fold(op, a.value, b.value))
        if shift:
            if a.type is None:
                if not isinstance(expected, IntType):
                    self.fail(node, f"the literal in {ast.unparse(node)} needs a type, e.g. u64(...)", NeedsType)
                a = self.adapt(a, expected, node)
            if not isinstance(a.type, IntType) or not (b.type is None or isinstance(b.type, IntType)):
                self.fail(node, f"{op} needs numbers")
            if isinstance(b, tree.Const):
                b = tree.Const(a.type, b.value % a.type.bits)
                if isinstance(a, tree.Const):
                    return tree.Const(a.type, a.type(fold(op, a.value, b.value)))
                if b.value == 0:
                    return a
            return tree.Binary(a.type, op, a, b)
        if a.type is None:
            a = self.adapt(a, b.type, node)
        b = self.adapt(b, a.type, node)
        if not isinstance(a.type, IntType) and not (a.type is BOOL and op in "&|^"):
            self.fail(node, f"{op} on {name_of(a.type)}")
        if op in ("//", "%") and getattr(a.type, "signed", False):
            self.fail(node, f"{op} on signed numbers: use sdiv or srem")
        if isinstance(a, tree.Const) and isinstance(b, tree.Const) and isinstance(a.type, IntType):
            if b.value == 0 and op in ("//", "%"):
                self.fail(node, "division by zero")
            return tree.Const(a.type, a.type(fold(op, a.value, b.value)))
        return tree.Binary(a.type, op, a, b)

    def read_Compare(self, node: ast.Compare, expected: Any) -> Any:
        result: Any = None
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if left is not node.left and not isinstance(left, (ast.Name, ast.Constant, ast.Attribute)):
                self.fail(left, "the middle of a chained comparison must be a name, number or field")
            part = self.comparison(left, operator, right)
            if result is None:
                result = part
            elif isinstance(result, tree.Const):
                result = part if result.value else result
            else:
                result = tree.Logic(BOOL, "and", result, part)
            left = right
        return result

    def comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Any:
        """One comparison of two operands."""
        op = COMPARE.get(type(operator))
        if op is None:
            self.fail(left, f"{type(operator).__name__} is not in the subset")
        try:
            a = self.expression(left, None)
            b = self.expression(right, a.type)
        except NeedsType:
            b = self.typed(right)
            a = self.expression(left, b.type)
        if isinstance(a, Static) or isinstance(b, Static):
            same = isinstance(a, Static) and isinstance(b, Static) and op in ("==", "!=")
            if not same:
                self.fail(left, "comparison with something that is not a value")
            return tree.Const(BOOL, int((a.value is b.value) == (op == "==")))
        if isinstance(a, tree.Const) and isinstance(b, tree.Const) and (a.type is b.type or None in (a.type, b.type)):
            if a.type is None and b.type is not None:
                a = self.adapt(a, b.type, left)
            elif b.type is None and a.type is not None:
                b = self.adapt(b, a.type, right)
            return tree.Const(BOOL, int(compare(op, a.value, b.value)))
        if a.type is None:
            a = self.adapt(a, b.type, left)
        b = self.adapt(b, a.type, right)
        if not isinstance(a.type, IntType) and op not in ("==", "!="):
            self.fail(left, f"{op} on {name_of(a.type)}")
        return tree.Compare(BOOL, op, a, b)

    def read_BoolOp(self, node: ast.BoolOp, expected: Any) -> Any:
        op = "and" if isinstance(node.op, ast.And) else "or"
        stop = 0 if op == "and" else 1
        result: Any = None
        for part in node.values:
            if isinstance(result, tree.Const):
                if result.value == stop:
                    return result
                result = self.condition(part)
            elif result is None:
                result = self.condition(part)
            else:
                b = self.condition(part)
                if not (isinstance(b, tree.Const) and b.value != stop):
                    result = tree.Logic(BOOL, op, result, b)
        return result
