"""Finding a function's syntax tree, and what a name in it means outside it. No typing here."""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from popek.lang.functions import Function, SubsetError

_MISSING = object()
_parsed: dict[str, tuple[list[str], dict[int, ast.FunctionDef]]] = {}


@contextmanager
def deep() -> Iterator[None]:
    """Allow the deep recursion that long generated functions need."""
    old = sys.getrecursionlimit()
    sys.setrecursionlimit(max(old, 50_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(old)


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements in a block, nested ones too. (ast.walk would visit the many more expressions as well.)"""
    todo = [body]
    while todo:
        for node in todo.pop():
            yield node
            for part in ("body", "orelse", "finalbody"):
                inner = getattr(node, part, None)
                if inner:
                    todo.append(inner)
            if isinstance(node, (ast.Try, ast.Match)):
                parts = node.handlers if isinstance(node, ast.Try) else node.cases
                todo.extend(part.body for part in parts)


def syntax(function: Function) -> ast.FunctionDef:
    """The syntax tree of a function. A file is read and parsed once."""
    code = function.python.__code__
    lines = linecache.getlines(code.co_filename, function.python.__globals__)
    cached = _parsed.get(code.co_filename)
    if cached is None or cached[0] is not lines:
        found: dict[int, ast.FunctionDef] = {}
        for node in statements(ast.parse("".join(lines)).body):
            if isinstance(node, ast.FunctionDef):
                first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
                found[first] = node
        cached = _parsed[code.co_filename] = (lines, found)
    definition = cached[1].get(code.co_firstlineno)
    if definition is None or definition.name != code.co_name:
        raise SubsetError(f"{code.co_filename}:{code.co_firstlineno}: no source of {function.symbol}")
    return definition


class Scope:
    """What names mean that a function does not assign itself: closure cells, module globals, builtins."""

    def __init__(self, function: Function) -> None:
        python = function.python
        self.globals = python.__globals__
        self.nearby = function.nearby
        cells = python.__closure__ or ()
        self.cells = dict(zip(python.__code__.co_freevars, cells, strict=True))
        try:
            self.annotations = python.__annotations__
        except NameError:  # evaluated lazily, and not all names are defined yet
            self.annotations = {}

    def find(self, name: str) -> Any:
        """The object a name stands for; NameError if there is none."""
        if name in self.cells:
            try:
                return self.cells[name].cell_contents
            except ValueError:
                raise NameError(name) from None
        value = self.globals.get(name, _MISSING)
        if value is _MISSING:
            value = getattr(builtins, name, _MISSING)
        if value is _MISSING:
            raise NameError(name)
        return value

    def resolve(self, node: ast.expr) -> Any:
        """The object an annotation means (names, attributes and subscripts only)."""
        if isinstance(node, ast.Name):
            return self.nearby[node.id] if node.id in self.nearby else self.find(node.id)
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return self.resolve(ast.parse(node.value, mode="eval").body)
            return node.value
        if isinstance(node, ast.Attribute):
            return getattr(self.resolve(node.value), node.attr)
        if isinstance(node, ast.Tuple):
            return tuple(self.resolve(e) for e in node.elts)
        if isinstance(node, ast.Subscript):
            return self.resolve(node.value)[self.resolve(node.slice)]
        raise NameError(ast.unparse(node))
