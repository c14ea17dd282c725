"""Checks of accesses that serve many turns of a loop.

Lives here: natural loops; which accesses of a loop are made in every turn around a root that does not change, or
changes by a constant; and the text that makes their checks, once for many turns, and finds out for how many they hold.
Not here: single checks and views (memory).

At the head of such a loop `turns` counts down how often the checks hold. At 0 they are made again: each says how many
strides fit between the access and the end of its view, and the smallest number counts. Where a check fails, the loop's
first instruction is executed the long way, and the rest of that turn by templates.
"""

from __future__ import annotations

from typing import NamedTuple

from popek.engine.optimizing.form import Block
from popek.engine.optimizing.memory import Access, Check, Checks, Known

FOREVER = 1 << 62


class Loop(NamedTuple):
    """A natural loop. `body`: the numbers of its blocks; `latches`: those of them that lead back to its head."""

    head: int
    body: frozenset[int]
    latches: tuple[int, ...]


class Root(NamedTuple):
    """What a loop accesses around one root in every turn; the root grows by `stride` from turn to turn."""

    name: str
    stride: int
    check: Check


def dominators(blocks: list[Block]) -> list[int]:
    """The immediate dominator of each block (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm")."""
    order: list[int] = []
    seen: set[int] = set()
    stack: list[tuple[int, bool]] = [(0, False)]
    while stack:
        n, done = stack.pop()
        if done:
            order.append(n)
        elif n not in seen:
            seen.add(n)
            stack.append((n, True))
            stack.extend((s, False) for s in blocks[n].after)
    rank = {n: i for i, n in enumerate(order)}  # postorder: the entry has the highest
    found = {0: 0}
    changed = True
    while changed:
        changed = False
        for n in reversed(order[:-1]):
            new: int | None = None
            for b in blocks[n].before:
                if b in found:
                    new = b if new is None else _meet(new, b, found, rank)
            if new is not None and found.get(n) != new:
                found[n], changed = new, True
    return [found[n] for n in range(len(blocks))]


def _meet(one: int, other: int, found: dict[int, int], rank: dict[int, int]) -> int:
    while one != other:
        if rank[one] < rank[other]:
            one = found[one]
        else:
            other = found[other]
    return one


def dominates(one: int, other: int, dominator: list[int]) -> bool:
    """Does every way to block `other` go through block `one`?"""
    while other != one and other != 0:
        other = dominator[other]
    return other == one


def loops(blocks: list[Block], dominator: list[int]) -> dict[int, Loop]:
    """The innermost natural loop at each head. Where several share a head, the others enter it like anything else."""
    made = {}
    for block in blocks:
        latches = {b for b in block.before if dominates(block.number, b, dominator)}
        if latches:
            bodies = {latch: natural(blocks, block.number, latch) for latch in latches}
            body = min(bodies.values(), key=len)
            inner = sorted(latch for latch in latches if bodies[latch] <= body)
            made[block.number] = Loop(block.number, body, tuple(inner))
    return made


def natural(blocks: list[Block], head: int, latch: int) -> frozenset[int]:
    """The blocks from which a latch can be reached without passing the head, and the head."""
    body = {head}
    waiting = [latch]
    while waiting:
        n = waiting.pop()
        if n not in body:
            body.add(n)
            waiting.extend(blocks[n].before)
    return frozenset(body)


def roots(
    loop: Loop,
    accesses: list[Access],
    strides: dict[str, int],
    homes: dict[str, int],
    known: Known,
    checks: Checks,
) -> list[Root]:
    """What `accesses`, those that every turn makes, need at the loop's head.

    `strides`: of roots that are phis of the head; `homes`: the blocks in which roots are defined.
    """
    found = []
    for name in dict.fromkeys(a.root for a in accesses):
        same = [a for a in accesses if a.root == name]
        if name in strides:
            stride = strides[name]
        elif homes.get(name, loop.head) not in loop.body:
            stride = 0
        else:
            continue
        if all(any(c.covers(a) for c in known.get(name, ())) for a in same):
            continue
        found.append(Root(name, stride, checks.new(*checks.together(same))))
    return found


class Head:
    """The text at a loop's head. `edges`: the labels that lead to it, and whether from inside the loop."""

    def __init__(self, loop: Loop, found: list[Root], checks: Checks, edges: list[tuple[str, bool]]) -> None:
        self.label = f"b{loop.head}"
        self.found = found
        self.checks = checks
        self.edges = edges

    def phi(self, name: str, again: str) -> str:
        """0 on entry to the loop, `again` on every other turn."""
        parts = [f"[ {again if back else 0}, %{at} ]" for at, back in self.edges]
        return f"  {name} = phi i64 {', '.join(parts)}\n"

    def text(self, leave: str) -> tuple[str, str]:
        """What comes behind the phis of registers, and text out of the way. `leave`: the way out before the turn."""
        b = self.label
        phis, look, cold, joined, hosts = self.phi(f"%{b}.turns", f"%{b}.left"), "", "", "", ""
        fewest, last = str(FOREVER), self.found[-1].check.label
        for root in self.found:
            n = root.check.number
            test, more, addend = self.checks.test(root.check, root.name, leave)
            look, cold = look + test, cold + more
            if root.stride:
                lines, fewest = self.fits(root, fewest, bare=not more)
                look += lines
            if more:
                phis += self.phi(f"%{b}.old{n}", f"%{b}.addend{n}")
                joined += f"  %{b}.addend{n} = phi i64 [ %{b}.old{n}, %{b} ], [ {addend}, %{last} ]\n"
                addend = f"%{b}.addend{n}"
            hosts += self.checks.hosted(root.check, root.name, addend)
        text = f"""{phis}  %{b}.hold = icmp ne i64 %{b}.turns, 0
  br i1 %{b}.hold, label %{b}.go, label %{b}.look, !prof !0
{b}.look:
{look}  br label %{b}.go
{b}.go:
  %{b}.now = phi i64 [ %{b}.turns, %{b} ], [ {fewest}, %{last} ]
{joined}  %{b}.left = add i64 %{b}.now, -1
{hosts}"""
        return text, cold

    def fits(self, root: Root, fewest: str, bare: bool) -> tuple[str, str]:
        """Lines that find out for how many turns the check of a root holds; the smaller of that and `fewest`."""
        n, span = root.check.number, root.check.high - root.check.low
        text, far, most = "", f"%far{n}", f"%ram.{span}"
        if not bare:  # the view may have been filled just now
            at = self.checks.view(root.name, root.check.write, span)
            far, most = f"%far{n}.now", f"%most{n}.now"
            text = f"""  %low{n}.now = load i64, ptr getelementptr (i8, ptr @data, i64 {at})
  {far} = sub i64 %first{n}, %low{n}.now
  {most} = load i64, ptr getelementptr (i8, ptr @data, i64 {at + 8})
"""
        room = far
        if root.stride > 0:
            room = f"%room{n}"
            text += f"  %beyond{n} = sub i64 {most}, {far}\n  {room} = add i64 %beyond{n}, -1\n"
        text += f"""  %fits{n} = udiv i64 {room}, {abs(root.stride)}
  %turns{n} = add i64 %fits{n}, 1
  %less{n} = icmp ult i64 %turns{n}, {fewest}
  %few{n} = select i1 %less{n}, i64 %turns{n}, i64 {fewest}
"""
        return text, f"%few{n}"
