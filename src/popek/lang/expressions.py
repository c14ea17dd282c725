"""Expressions of the subset: syntax tree -> typed tree. Statements are front.py's, named operations calls.py's."""

from __future__ import annotations

import ast
from typing import Any, NoReturn

from popek.lang import tree
from popek.lang.functions import Function, SubsetError, Table
from popek.lang.source import Scope
from popek.lang.types import BOOL, ArrayType, IntType, PointerType, StructMeta, name_of, u8, u64


class NeedsType(SubsetError):
    """A literal stands where its type cannot be known."""


class Static:
    """A name that stands for an object known now (module, type, function, number, ...)."""

    __slots__ = ("value",)
    type = None

    def __init__(self, value: Any) -> None:
        self.value = value


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
