"""Expressions of the subset: syntax tree -> typed tree. Statements are front.py's, named operations calls.py's."""

from __future__ import annotations

import ast
from typing import Any, NoReturn

from popek.lang import tree
from popek.lang.functions import Function, SubsetError, Table
from popek.lang.source import Scope
from popek.lang.types import BOOL, ArrayType, IntType, PointerType, StructMeta, name_of, u8, u64

BINARY = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
COMPARE = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "==", ast.IsNot: "!=",
}  # fmt: skip


class NeedsType(SubsetError):
    """A literal stands where its type cannot be known."""


class Static:
    """A name that stands for an object known now (module, type, function, number, ...)."""

    __slots__ = ("value",)
    type = None

    def __init__(self, value: Any) -> None:
        self.value = value


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


class Expressions:
    """Reads the expressions of one function."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.scope = Scope(function)
        self.file = function.python.__code__.co_filename
        self.names: set[str] = set()  # names the function itself assigns
        self.types: dict[str, Any] = {}  # their types, as far as known
        self.tables: list[Table] = []
        self.count_expressions = 0
        self.addressed: list[Function] = []

    def fail(self, node: Any, message: str, kind: type[SubsetError] = SubsetError) -> NoReturn:
        """Raise SubsetError naming the place."""
        line = getattr(node, "lineno", self.function.python.__code__.co_firstlineno)
        raise kind(f"{self.file}:{line}: in {self.function.__qualname__}: {message}")

    # -- types --

    def annotation(self, node: ast.expr) -> Any:
        """The type an annotation means; pointers are references to their struct."""
        try:
            found = self.scope.resolve(node)
        except (NameError, AttributeError, TypeError) as error:
            self.fail(node, f"unknown type {ast.unparse(node)} ({error})")
        return self.as_type(found, node)

    def as_type(self, found: Any, node: Any) -> Any:
        """A type object as the type of a value."""
        if found is bool:
            return BOOL
        if isinstance(found, PointerType):
            return found.target
        if isinstance(found, (IntType, StructMeta, ArrayType)) or found is BOOL:
            return found
        self.fail(node, f"{name_of(found)} is not a type of the subset")

    def adapt(self, value: Any, type_: Any, node: Any) -> Any:
        """`value` as `type_`: literals adapt, everything else must already be of that type."""
        have = value.type
        if have is None:
            if isinstance(value, tree.Null):
                if isinstance(type_, StructMeta):
                    return tree.Null(type_)
                self.fail(node, f"None is not a {name_of(type_)}")
            if isinstance(value, Static):
                self.fail(node, f"{value.value!r} is not a value")
            if not isinstance(type_, IntType):
                self.fail(node, f"a number stands where a {name_of(type_)} is wanted")
            if not type_.fits(value.value):
                self.fail(node, f"{value.value:#x} does not fit {type_}")
            return tree.Const(type_, type_(value.value))
        if have is not type_ and have != type_:
            self.fail(node, f"{name_of(have)} stands where {name_of(type_)} is wanted: convert explicitly")
        return value

    def value(self, node: ast.expr, type_: Any) -> Any:
        """Read an expression that must have a type."""
        return self.adapt(self.expression(node, type_), type_, node)

    def typed(self, node: ast.expr, what: str = "this") -> Any:
        """Read an expression that must bring its own type."""
        found = self.expression(node, None)
        if found.type is None:
            self.fail(node, f"{what} needs a type: write e.g. u64(...) or annotate", NeedsType)
        return found

    def condition(self, node: ast.expr) -> Any:
        """Read a condition."""
        found = self.expression(node, BOOL)
        if found.type is not BOOL:
            self.fail(node, "a condition must be a bool: write e.g. `!= 0`")
        return found

    # -- expressions --

    def expression(self, node: ast.expr, expected: Any) -> Any:
        """Read an expression; `expected` is only a hint for literals."""
        self.count_expressions += 1
        method = getattr(self, "read_" + type(node).__name__, None)
        if method is None:
            self.fail(node, f"{type(node).__name__} is not in the subset: {ast.unparse(node)}")
        return method(node, expected)

    def constant(self, value: Any, node: ast.expr) -> Any:
        """An object found through globals, as expression."""
        if value is True or value is False:
            return tree.Const(BOOL, int(value))
        if isinstance(value, int):
            return tree.Const(None, int(value))
        if value is None:
            return tree.Null(None)
        return Static(value)

    def read_Constant(self, node: ast.Constant, expected: Any) -> Any:
        found = self.constant(node.value, node)
        if isinstance(found, Static):
            self.fail(node, f"{node.value!r} is not in the subset")
        return found

    def read_Name(self, node: ast.Name, expected: Any) -> Any:
        if node.id in self.names:
            if node.id not in self.types:
                self.fail(node, f"{node.id} is used before it is assigned")
            return tree.Local(self.types[node.id], node.id)
        try:
            return self.constant(self.scope.find(node.id), node)
        except NameError:
            self.fail(node, f"unknown name {node.id}")

    def read_Attribute(self, node: ast.Attribute, expected: Any) -> Any:
        base = self.expression(node.value, None)
        name = node.attr
        if isinstance(base, Static):
            try:
                return self.constant(getattr(base.value, name), node)
            except AttributeError:
                self.fail(node, f"{ast.unparse(node.value)} has no {name}")
        if isinstance(base, tree.Memory) and name == "value":
            return base
        if not isinstance(base.type, StructMeta):
            self.fail(node, f"{name_of(base.type)} has no fields")
        type_ = base.type.fields.get(name)
        if type_ is None:
            self.fail(node, f"struct {base.type.__name__} has no field {name}")
        pointer = isinstance(type_, PointerType)
        return tree.Field(type_.target if pointer else type_, base, name, base.type.offset(name), pointer)

    def read_Subscript(self, node: ast.Subscript, expected: Any) -> Any:
        base = self.expression(node.value, None)
        if isinstance(base, Static) and isinstance(base.value, (tuple, list)):
            index = self.expression(node.slice, None)
            if not isinstance(index, tree.Const):
                self.fail(node, "only a table(...) or an Array can be indexed by a variable")
            return self.constant(base.value[index.value], node)
        index = self.expression(node.slice, u64)
        if index.type is None:
            if index.value < 0:
                self.fail(node, "negative index")
            index = self.adapt(index, u64, node)
        if not isinstance(index.type, IntType):
            self.fail(node, "an index must be an integer")
        if isinstance(base, Static) and isinstance(base.value, Table):
            if base.value not in self.tables:
                self.tables.append(base.value)
            return tree.TableItem(base.value.item, base.value, index)
        if not isinstance(base.type, ArrayType):
            self.fail(node, f"{ast.unparse(node.value)} cannot be indexed")
        if isinstance(index, tree.Const) and not 0 <= index.value < base.type.length:
            self.fail(node, f"index {index.value} is outside {base.type}")
        item = base.type.item
        pointer = isinstance(item, PointerType)
        return tree.Index(item.target if pointer else item, base, index, item.size, pointer)

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

    def read_IfExp(self, node: ast.IfExp, expected: Any) -> Any:
        condition = self.condition(node.test)
        if isinstance(condition, tree.Const):
            return self.expression(node.body if condition.value else node.orelse, expected)
        a = self.expression(node.body, expected)
        b = self.expression(node.orelse, a.type or expected)
        type_ = a.type or b.type or expected
        if type_ is None:
            self.fail(node, f"the literals in {ast.unparse(node)} need a type, e.g. u64(...)", NeedsType)
        return tree.Select(type_, condition, self.adapt(a, type_, node), self.adapt(b, type_, node))

    def read_Call(self, node: ast.Call, expected: Any) -> Any:
        raise NotImplementedError

    def byte(self, node: ast.expr) -> Any:
        """Read a u8."""
        return self.value(node, u8)
