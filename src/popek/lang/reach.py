"""Which functions a set of subset functions reaches under a choice of ports and substitutes, and which may raise Trap.

Names, types and effects as LLVM sees them; the text itself is llvm.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from popek.lang import tree
from popek.lang.front import read, signature
from popek.lang.functions import Function, SubsetError
from popek.lang.source import deep
from popek.lang.values import llvm_type, outside_type

SMALL = 60  # in expressions

Links = Mapping[Function, Function]


class Reach:
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
        self.standing = self._standing()
        self.inlined = self._inlined()

    def resolve(self, target: Any, caller: Function | None = None) -> Function:
        """The function that a call of `target` (in `caller`) reaches."""
        while True:
            if target in self.substitute and self.substitute[target] is not caller:
                target = self.substitute[target]
            elif target in self.ports:
                target = self.ports[target]
            else:
                return target

    def symbol(self, function: Any) -> str:
        """The function's name in the module."""
        return function.external if function.kind == "extern" else function.symbol

    def raising(self, function: Any) -> bool:
        """Can this function raise Trap, so that it has the extra flag as result?"""
        return self.resolve(function) in self._raising

    def result(self, function: Any) -> str:
        """The function's LLVM result type."""
        plain = llvm_type(signature(function)[1])
        if function not in self._raising:
            return plain
        return "i1" if plain == "void" else f"{{ {plain}, i1 }}"

    def declaration(self, function: Any) -> str:
        """Result, name and parameter types, as in a `declare`."""
        type_name = llvm_type if function.kind == "fn" else outside_type
        parameters = ", ".join(type_name(p.type) for p in signature(function)[0])
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

    # -- inlining --

    def _standing(self) -> set[Function]:
        """Functions that must exist by themselves: roots, exports, those whose address is taken."""
        found = {self.resolve(f) for f in self.roots}
        for function, definition in self.definitions.items():
            found.update(self.resolve(f, function) for f in definition.addressed)
            if function.export:
                found.add(function)
        return found

    def _inlined(self) -> set[Function]:
        """Functions that are written out at each call.

        All that ask for it; of those that may raise also the small ones and those called once, because inlining
        here makes a plain jump of a raise, while LLVM would go on testing flags in pairs.
        """
        sites: dict[Function, int] = {}
        for edges in self.edges.values():
            for target, _ in edges:
                sites[target] = sites.get(target, 0) + 1
        able = {f for f in self.definitions if not (f.cold or (f.native is not None and self.native))}
        found = {f for f in able if f.inline or self.inline_all}
        found -= self._recursive(found)
        sizes: dict[Function, int] = {}  # with what is inlined into each; 0: being looked at

        def visit(function: Function) -> None:
            sizes[function] = 0
            size, circle = self.definitions[function].size, False
            for target, _ in self.edges[function]:
                if target in self.definitions:
                    if target not in sizes:
                        visit(target)
                    size += sizes[target] if target in found else 0
                    circle = circle or sizes[target] == 0
            sizes[function] = max(size, 1)
            small = size <= SMALL or (sites.get(function) == 1 and function not in self.standing)
            if function in able and function in self._raising and small and not circle:
                found.add(function)

        with deep():
            for function in self.definitions:
                if function not in sizes:
                    visit(function)
        return found

    def _recursive(self, among: set[Function]) -> set[Function]:
        """Functions that can reach themselves through `among`."""
        state: dict[Function, int] = {}
        found: set[Function] = set()

        def visit(function: Function, path: list[Function]) -> None:
            state[function] = 1
            path.append(function)
            for target, _ in self.edges[function]:
                if target in among:
                    if state.get(target) == 1:
                        found.update(path[path.index(target) :])
                    elif target not in state:
                        visit(target, path)
            path.pop()
            state[function] = 2

        with deep():
            for function in among:
                if function not in state:
                    visit(function, [])
        return found
