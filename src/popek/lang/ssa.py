"""SSA construction for structured code: blocks, edges, and phis made only for values that are really read.

A block with several edges gives each variable that differs between them a Lazy value; reading one makes its phi.
"""

from __future__ import annotations

from typing import Any

Env = dict[str, Any]


class Lazy:
    """The value of `name` at the start of `block`, not asked for yet."""

    __slots__ = ("block", "name")

    def __init__(self, block: Block, name: str) -> None:
        self.block, self.name = block, name


class Block:
    """A basic block: the edges into it, and its phis. Sealed: no more edges will come."""

    __slots__ = ("edges", "known", "label", "phis", "sealed", "writer")

    def __init__(self, writer: Writer, label: str = "") -> None:
        self.writer = writer
        self.label = label or writer.fresh("b")
        self.edges: list[tuple[str, Env]] = []
        self.phis: list[Any] = []
        self.known: dict[str, str] = {}
        self.sealed = False

    def read(self, name: str) -> str:
        """The value of a variable at the start of this block."""
        known = self.known.get(name)
        if known is None:
            known = self.known[name] = "%" + self.writer.fresh("p")
            if self.sealed:
                self._phi(name, known)
        return known

    def seal(self) -> None:
        """All edges are there: complete the phis made so far."""
        self.sealed = True
        for name, value in list(self.known.items()):
            self._phi(name, value)

    def _phi(self, name: str, value: str) -> None:
        parts = []
        for label, env in self.edges:
            incoming = self.writer.look(env, name)
            parts.append(f"[ {incoming}, %{label} ]")
        self.phis.append(f"  {value} = phi {self.writer.type_of(name)} {', '.join(parts)}")


class Writer:
    """Lines of one function, the current block, and the values variables have here (`env`; None: unreachable)."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.env: Env | None = {}
        self.label = ""
        self._count = 0

    def type_of(self, name: str) -> str:
        """LLVM type of a variable."""
        raise NotImplementedError

    def fresh(self, prefix: str) -> str:
        """A new name."""
        self._count += 1
        return f"{prefix}.{self._count}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def emit(self, text: str) -> str:
        """An instruction with a result; returns its name."""
        self._count += 1
        name = f"%t.{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def end(self, text: str) -> None:
        """An instruction that ends the block."""
        self.lines.append("  " + text)
        self.env = None

    def look(self, env: Env, name: str) -> str:
        """A variable's value in some env."""
        value = env.get(name)
        if isinstance(value, Lazy):
            value = env[name] = value.block.read(value.name)
        return "poison" if value is None else value

    def read(self, name: str) -> str:
        """A variable's value here."""
        assert self.env is not None
        return self.look(self.env, name)

    def jump(self, block: Block) -> None:
        """Go to a block, if this place can be reached."""
        if self.env is not None:
            block.edges.append((self.label, self.env))
            self.end(f"br label %{block.label}")

    def fork(self, condition: str, then: Block, otherwise: Block, weights: str) -> None:
        """Go to one of two blocks."""
        assert self.env is not None
        then.edges.append((self.label, self.env))
        otherwise.edges.append((self.label, self.env))
        self.end(f"br i1 {condition}, label %{then.label}, label %{otherwise.label}{weights}")

    def _open(self, block: Block) -> None:
        self.lines.append(block.label + ":")
        self.lines.append(block.phis)
        self.label = block.label

    def begin(self, block: Block) -> None:
        """Go on writing in a block whose edges are all known."""
        block.sealed = True
        edges = block.edges
        if not edges:
            self.env = None
            return
        self._open(block)
        first = edges[0][1]
        env = self.env = dict(first)
        for _, other in edges[1:]:
            if other is first:
                continue
            for name, value in other.items():
                mine = env.get(name)
                if mine is not value and mine != value:
                    env[name] = Lazy(block, name)
            for name in env.keys() - other.keys():
                env[name] = Lazy(block, name)

    def begin_dead(self, block: Block, env: Env) -> None:
        """Go on writing in a block that cannot be reached."""
        block.sealed = True
        self._open(block)
        self.env = dict(env)

    def begin_loop(self, block: Block, assigned: set[str]) -> None:
        """Go on writing in a block that will get more edges, from code that may assign these names."""
        if not block.edges:
            self.env = None
            return
        self._open(block)
        env = self.env = dict(block.edges[0][1])
        for name in assigned:
            env[name] = Lazy(block, name)

    def flat(self) -> list[str]:
        """The lines with the phis in their places."""
        out: list[str] = []
        for line in self.lines:
            if isinstance(line, list):
                out.extend(line)
            else:
                out.append(line)
        return out
