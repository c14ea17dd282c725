"""Typed trees -> LLVM IR text of a module: which functions, under which names, with which effects and attributes.

Function bodies are body.py's. llvmlite is not needed here: this is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from popek.lang import tree
from popek.lang.body import Body, llvm_type
from popek.lang.front import read, signature
from popek.lang.functions import Function, SubsetError, Table
from popek.lang.source import deep

Links = Mapping[Function, Function]

TAIL = """
attributes #0 = { nounwind }
attributes #1 = { nounwind alwaysinline }
attributes #2 = { nounwind cold noinline }
!0 = !{!"branch_weights", i32 1, i32 2000}
!1 = !{!"branch_weights", i32 2000, i32 1}
"""


class Program:
    """A set of subset functions with everything they reach, under a choice of ports and substitutes.

    native=False: ignore the functions' native lowerings (other targets). bare_traps=True: raising does not store cause
    and tval. inline_all=True: everything internal is inlined but recursive functions and soft bodies.
    """

    def __init__(
        self,
        functions: Iterable[Any],
        ports: Mapping[Any, Any] | None = None,
        substitute: Mapping[Any, Any] | None = None,
        native: bool = True,
        bare_traps: bool = False,
        inline_all: bool = False,
    ) -> None:
        self.native, self.bare_traps, self.inline_all = native, bare_traps, inline_all
        self.ports: Links = dict(ports or {})
        self.substitute: Links = dict(substitute or {})
        self.roots: list[Function] = list(dict.fromkeys(functions))
        self.definitions: dict[Function, tree.Definition] = {}
        self.externals: dict[Function, None] = {}
        self.edges: dict[Function, list[tuple[Function, bool]]] = {}
        self._symbols: dict[str, Function] = {}
        self._reach()
        self._raising: set[Function] = self._effects()
        self._stay = self._recursive() if inline_all else set()

    def resolve(self, target: Function, caller: Function | None = None) -> Function:
        """The function that a call of `target` (in `caller`) reaches."""
        while True:
            if target in self.substitute and self.substitute[target] is not caller:
                target = self.substitute[target]
            elif target in self.ports:
                target = self.ports[target]
            else:
                return target

    def symbol(self, function: Function) -> str:
        """The function's name in the module."""
        return function.external if function.kind == "extern" else function.symbol

    def raising(self, function: Function) -> bool:
        """Can this function raise Trap, so that it has the extra flag as result?"""
        return self.resolve(function) in self._raising

    def result(self, function: Function) -> str:
        """The function's LLVM result type."""
        plain = llvm_type(signature(function)[1])
        if function not in self._raising:
            return plain
        return "i1" if plain == "void" else f"{{ {plain}, i1 }}"

    def declaration(self, function: Function) -> str:
        """Result, name and parameter types, as in a `declare`."""
        parameters = ", ".join(llvm_type(p.type) for p in signature(function)[0])
        return f'{self.result(function)} @"{self.symbol(function)}"({parameters})'

    def _reach(self) -> None:
        queue = [self.resolve(f) for f in self.roots]
        seen: dict[Function, None] = dict.fromkeys(queue)
        while queue:
            function = queue.pop()
            self._claim(function)
            if function.kind != "fn":
                self.externals[function] = None
                continue
            definition = read(function)
            self.definitions[function] = definition
            edges = self.edges[function] = []
            for target, protected in definition.calls:
                reached = self.resolve(target, function)
                self._same_signature(target, reached)
                edges.append((reached, protected))
            addressed = [self.resolve(f, function) for f in definition.addressed]
            for reached in [*(e[0] for e in edges), *addressed]:
                if reached not in seen:
                    seen[reached] = None
                    queue.append(reached)

    def _claim(self, function: Function) -> None:
        name = self.symbol(function)
        other = self._symbols.setdefault(name, function)
        if other is not function and function.kind == "fn":
            number = 2
            while f"{function.symbol}.{number}" in self._symbols:
                number += 1
            function.symbol = f"{function.symbol}.{number}"
            self._symbols[function.symbol] = function

    def _same_signature(self, target: Function, reached: Function) -> None:
        if target is reached:
            return
        wanted, have = signature(target), signature(reached)
        if [p.type for p in wanted[0]] != [p.type for p in have[0]] or wanted[1] != have[1]:
            raise SubsetError(f"{reached.symbol} has another signature than {target.symbol}, which it stands for")

    def _effects(self) -> set[Function]:
        raising = {f for f, d in self.definitions.items() if d.raises}
        raising |= {f for f in self.externals if f.raises}
        callers: dict[Function, list[Function]] = {}
        for caller, edges in self.edges.items():
            for target, protected in edges:
                if not protected:
                    callers.setdefault(target, []).append(caller)
        queue = list(raising)
        while queue:
            for caller in callers.get(queue.pop(), ()):
                if caller not in raising:
                    raising.add(caller)
                    queue.append(caller)
        for port, bound in self.ports.items():
            if bound in raising and not port.raises and port.kind == "port":
                raise SubsetError(f"{bound.symbol} may raise Trap, but {port.symbol} is a port without raises=True")
        return raising

    def _recursive(self) -> set[Function]:
        """Functions that can reach themselves."""
        found: set[Function] = set()
        for function in self.definitions:
            seen: set[Function] = set()
            queue = [function]
            while queue:
                for target, _ in self.edges.get(queue.pop(), ()):
                    if target is function:
                        found.add(function)
                        queue.clear()
                        break
                    if target not in seen:
                        seen.add(target)
                        queue.append(target)
        return found

    # -- text --

    def text(self, exports: Iterable[Any] = ()) -> str:
        """The module. Functions are internal unless they were defined with export=True or are in `exports`."""
        exported = {self.resolve(f) for f in exports}
        declares: dict[str, None] = {}
        tables: dict[int, tuple[str, Table]] = {}
        out: list[str] = []
        for function in reversed(self.definitions):
            self._define(function, function.export or function in exported, declares, tables, out)
        for function in self.externals:
            declares[f"declare {self.declaration(function)} #0"] = None
        constants = [_constant(name, table) for name, table in tables.values()]
        return "\n".join([*constants, *declares, "", *out, TAIL])

    def _define(
        self,
        function: Function,
        exported: bool,
        declares: dict[str, None],
        tables: dict[int, tuple[str, Table]],
        out: list[str],
    ) -> None:
        linkage = "dso_local" if exported else "internal"
        inline = function.inline or (self.inline_all and function not in self._stay)
        group = "#1" if inline and not exported else "#2" if function.cold else "#0"
        symbol = function.symbol
        made = function.native(symbol) if function.native is not None and self.native else None
        if made is not None:
            text, needs = made if isinstance(made, tuple) else (made, [])
            out.append(text)
            declares.update(dict.fromkeys(needs))
            linkage, symbol, group = "internal", symbol + ".soft", "#2"
        body = Body(self, self.definitions[function], declares, tables)
        parameters = ", ".join(f"{llvm_type(p.type)} %{p.name}" for p in body.definition.parameters)
        out.append(f'define {linkage} {self.result(function)} @"{symbol}"({parameters}) {group} {{')
        with deep():
            out.append(body.text())
        out.append("}\n")


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
