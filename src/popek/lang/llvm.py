"""Typed trees -> LLVM IR text of a module: which functions, under which names, with which effects and attributes.

Function bodies are body.py's. llvmlite is not needed here: this is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from popek.lang.body import Body
from popek.lang.functions import Function, Table
from popek.lang.reach import Reach
from popek.lang.source import deep
from popek.lang.values import llvm_type

TAIL = """
attributes #0 = { nounwind }
attributes #1 = { nounwind alwaysinline }
attributes #2 = { nounwind cold noinline }
!0 = !{!"branch_weights", i32 1, i32 2000}
!1 = !{!"branch_weights", i32 2000, i32 1}
"""


SMALL = 30  # functions of up to so many lines are repeated in every part of a split program, to be inlined


@dataclass(slots=True)
class Piece:
    """One function's text; `%LINKAGE%` stands where its linkage goes."""

    text: str
    declares: dict[str, None] = field(default_factory=dict)
    tables: dict[int, tuple[str, Table]] = field(default_factory=dict)
    named: list[Function] = field(default_factory=list)  # functions that the text refers to
    lowered: bool = False  # natively, by its own text
    lines: int = 0


class Program(Reach):
    """Subset functions with everything they reach, as text of one LLVM module or of several."""

    def text(self, exports: Iterable[Any] = ()) -> str:
        """The module. Functions are internal unless they were defined with export=True or are in `exports`."""
        exported = {self.resolve(f) for f in exports}
        pieces = self._pieces(exported)
        internal = {f for f in pieces if not (f.export or f in exported)}
        return self._module(list(pieces), internal, pieces)

    def split(self, parts: int, exports: Iterable[Any] = ()) -> list[str]:
        """The same as up to `parts` modules of about the same size, to be compiled at the same time and linked.

        Small, inline and natively lowered functions are repeated where they are called.
        """
        exported = {self.resolve(f) for f in exports}
        pieces = self._pieces(exported)
        single = {f for f in pieces if f.export or f in exported}
        repeated = {f for f, p in pieces.items() if f not in single and self._is_small(f, p)}
        groups: list[list[Function]] = [[] for _ in range(parts)]
        filled = [0] * parts
        for function in sorted(pieces.keys() - repeated, key=lambda f: (-pieces[f].lines, f.symbol)):
            least = filled.index(min(filled))
            groups[least].append(function)
            filled[least] += pieces[function].lines
        groups = [g for g in groups if g]
        return [self._module(self._with_repeated(g, repeated, pieces), repeated, pieces) for g in groups]

    def _is_small(self, function: Function, piece: Piece) -> bool:
        inline = function.inline or self.inline_all
        return piece.lowered or inline or (piece.lines <= SMALL and not function.cold)

    def _with_repeated(
        self, group: list[Function], repeated: set[Function], pieces: dict[Function, Piece]
    ) -> list[Function]:
        found = dict.fromkeys(group)
        queue = list(group)
        while queue:
            for target in pieces[queue.pop()].named:
                if target in repeated and target not in found:
                    found[target] = None
                    queue.append(target)
        return list(found)

    def _module(self, functions: list[Function], internal: set[Function], pieces: dict[Function, Piece]) -> str:
        """Text of one module; what it calls and does not define is declared."""
        here = set(functions)
        declares: dict[str, None] = {}
        tables: dict[int, tuple[str, Table]] = {}
        out = []
        for function in functions:
            piece = pieces[function]
            linkage = "internal" if function in internal else "hidden"
            out.append(piece.text.replace("%LINKAGE%", linkage, 1))
            declares.update(piece.declares)
            tables.update(piece.tables)
            for target in piece.named:
                if target not in here:
                    outside = "" if target in self.externals else "hidden "
                    declares[f"declare {outside}{self.declaration(target)} #0"] = None
        constants = [_constant(name, table) for name, table in tables.values()]
        return "\n".join([*constants, *declares, "", *out, TAIL])

    def _pieces(self, exported: set[Function]) -> dict[Function, Piece]:
        names: dict[int, tuple[str, Table]] = {}
        needed = [f for f in reversed(self.definitions) if f not in self.inlined or f in self.standing or f in exported]
        return {f: self._piece(f, f.export or f in exported, names) for f in needed}

    def _piece(self, function: Function, exported: bool, names: dict[int, tuple[str, Table]]) -> Piece:
        inline = function.inline or function in self.inlined
        group = "#1" if inline and not exported else "#2" if function.cold else "#0"
        symbol, linkage = function.symbol, "%LINKAGE%"
        piece = Piece("")
        made = function.native(symbol) if function.native is not None and self.native else None
        if made is not None:
            text, needs = made if isinstance(made, tuple) else (made, [])
            piece.text, piece.lowered = text + "\n", True
            piece.declares.update(dict.fromkeys(needs))
            linkage, symbol, group = "internal", symbol + ".soft", "#2"
        body = Body(self, self.definitions[function], piece.declares, names)
        parameters = ", ".join(f"{llvm_type(p.type)} %{p.name}" for p in body.definition.parameters)
        with deep():
            text = body.text()
        piece.lines = text.count("\n") + 1
        extended = "zeroext " if exported and self.result(function) in ("i1", "i8", "i16") else ""
        head = f'define {linkage} {extended}{self.result(function)} @"{symbol}"({parameters}) {group}'
        piece.text += f"{head} {{\n{text}\n}}\n"
        piece.tables = {key: names[key] for key in body.used_tables}
        piece.named = list(body.named)
        return piece


def _constant(name: str, table: Table) -> str:
    values = ", ".join(f"i{table.item.bits} {v}" for v in table.values)
    count = len(table.values)
    return f"{name} = private unnamed_addr constant [{count} x i{table.item.bits}] [{values}], align {table.item.align}"


def emit(
    functions: Iterable[Any],
    ports: Mapping[Any, Any] | None = None,
    substitute: Mapping[Any, Any] | None = None,
    keep: Iterable[Any] = (),
    exports: Iterable[Any] = (),
    **options: bool,
) -> str:
    """LLVM IR text of these functions and everything they reach.

    `keep` are further functions that must be present (all are internal unless exported). See Program for the rest.
    """
    exports = list(exports)
    return Program([*functions, *keep, *exports], ports, substitute, **options).text(exports)
