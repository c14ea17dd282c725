"""Accesses to guest memory in a region: which of them share a check, and the check's text.

Lives here: groups of accesses around one root, views. A *view* is what a region knows of the memory around one root:
an access is allowed if its address minus `low` is below `limit`, and lies at its address plus `addend`. Views hold from
the entry of the region, which looks whether they are still true, to its end. Not here: who fills a view (views), how
data is converted (steps), checks that serve a whole loop (loops).
"""

from __future__ import annotations

from typing import NamedTuple

from popek.engine.optimizing.image import RAM_BASE, VIEW_BYTES, VIEWS_AT

#: Bytes that one check may cover. Under translation a wider one too often crosses into a page that lies elsewhere, and
#: is refused as a whole.
WIDEST, WIDEST_TRANSLATED = 256, 64


class Check(NamedTuple):
    """The bytes from `low` to `high`, relative to a root, may be accessed; `host` is then the root's host address."""

    low: int
    high: int
    write: bool
    number: int

    @property
    def host(self) -> str:
        """The value."""
        return f"%host{self.number}"

    @property
    def label(self) -> str:
        """The LLVM block that the check ends in."""
        return f"got{self.number}"

    def covers(self, access: Access) -> bool:
        """Does it serve an access around the same root?"""
        low, high = access.offset, access.offset + access.size
        return self.low <= low and high <= self.high and (self.write or not access.write)


class Access:
    """One access: `size` bytes at `root` + `offset`, wherever checked: `name` is the host's address of it."""

    __slots__ = ("name", "root", "offset", "size", "write", "leave", "before", "host", "check")

    def __init__(
        self, name: str, root: str, offset: int, size: int, write: bool, leave: str, before: str | Access
    ) -> None:
        self.name = name
        self.root = root
        self.offset = offset
        self.size = size
        self.write = write
        self.leave = leave  # the block that executes it the long way instead
        self.before = before  # the LLVM block in which it begins
        self.host = ""  # the value that is the host's address of `root`
        self.check: Check | None = None  # to be made before this access


def settled(label: str | Access) -> str:
    """The name of the LLVM block that an access ends in, once its check is arranged."""
    while isinstance(label, Access):
        label = label.check.label if label.check is not None else label.before
    return label


Known = dict[str, list[Check]]  # by root


class Checks:
    """The checks of a region. What is checked in a block holds in all blocks that it dominates.

    `halves`: of roots that are sums with a shifted index: their two parts. The first one is then made the host's, so
    that the index can be part of an addressing mode.
    """

    def __init__(self, bare: bool, halves: dict[str, tuple[str, str]]) -> None:
        self.bare = bare
        self.halves = halves
        self.views: list[tuple[str, bool, int]] = [("ram", False, 1)] if bare else []
        self.made = 0
        self.spans: set[int] = set()  # of reads that assume bare translation

    def new(self, low: int, high: int, write: bool) -> Check:
        """A check with a number of its own."""
        self.made += 1
        return Check(low, high, write, self.made)

    def view(self, root: str, write: bool, span: int) -> int:
        """The offset, in the region's data, of the view for accesses of `span` bytes around a root."""
        key = (root, write, span)
        if key not in self.views:
            self.views.append(key)
        return VIEWS_AT + VIEW_BYTES * self.views.index(key)

    def arrange(self, accesses: list[Access], known: Known) -> None:
        """Decide which accesses of a block (in order) need a check. `known`: checks that hold; new ones are added."""
        for at, access in enumerate(accesses):
            check = next((c for c in known.get(access.root, ()) if c.covers(access)), None)
            if check is None:
                check = self.new(*self.together([a for a in accesses[at:] if a.root == access.root]))
                access.check = check
                known.setdefault(access.root, []).insert(0, check)
            access.host = check.host

    def together(self, accesses: list[Access]) -> tuple[int, int, bool]:
        """The range around one root that a check of the first access should cover, and whether for writing."""
        low, high, write = accesses[0].offset, accesses[0].offset + accesses[0].size, accesses[0].write
        widest = WIDEST if self.bare else WIDEST_TRANSLATED
        for other in accesses[1:]:
            wide = min(low, other.offset), max(high, other.offset + other.size)
            if wide[1] - wide[0] <= widest:
                low, high = wide
                write |= other.write
        return low, high, write

    def text(self, access: Access) -> tuple[str, str]:
        """The lines that make the access's address, with its check if it has one; and lines out of the way."""
        address = f"  {access.name} = add i64 {access.host}, {access.offset}"
        if access.check is None:
            return address, ""
        text, cold, addend = self.test(access.check, access.root, access.leave)
        return f"{text}{self.hosted(access.check, access.root, addend)}{address}", cold

    def hosted(self, check: Check, root: str, addend: str) -> str:
        """Lines that make the host's address of a root."""
        n = check.number
        if root == "@base":
            return f"  %home{n} = load i64, ptr @base\n  {check.host} = add i64 %home{n}, {addend}\n"
        if root in self.halves:
            base, index = self.halves[root]
            return f"  %home{n} = add i64 {base}, {addend}\n  {check.host} = add i64 %home{n}, {index}\n"
        return f"  {check.host} = add i64 {root}, {addend}\n"

    def test(self, check: Check, root: str, leave: str) -> tuple[str, str, str]:
        """Lines that lead to `check.label` if its bytes may be accessed, else to `leave`; lines out of the way; addend.

        %far<n> is how far the first byte lies in RAM if translation is bare, else in the view before it may be filled.
        """
        n, span = check.number, check.high - check.low
        name, first = root, ""
        if root == "@base":
            name, first = f"%root{n}", f"  %root{n} = load i64, ptr @base\n"
        if self.bare and not check.write:
            self.spans.add(span)
            text = f"""{first}  %far{n} = add i64 {name}, {check.low - RAM_BASE}
  %ok{n} = icmp ult i64 %far{n}, %ram.{span}
  br i1 %ok{n}, label %{check.label}, label %{leave}, !prof !0
{check.label}:
"""
            return text, "", "%ram.addend"
        at = self.view(root, check.write, span)
        view = f"getelementptr (i8, ptr @data, i64 {at})"
        text = f"""{first}  %first{n} = add i64 {name}, {check.low}
  %low{n} = load i64, ptr {view}
  %far{n} = sub i64 %first{n}, %low{n}
  %most{n} = load i64, ptr getelementptr (i8, ptr @data, i64 {at + 8})
  %ok{n} = icmp ult i64 %far{n}, %most{n}
  br i1 %ok{n}, label %{check.label}, label %fill{n}, !prof !0
{check.label}:
  %addend{n} = load i64, ptr getelementptr (i8, ptr @data, i64 {at + 16})
"""
        fill = "fill_write" if check.write else "fill_read"
        cold = f"""fill{n}:
  %filled{n} = call preserve_mostcc i1 @{fill}(ptr %h, i64 %first{n}, ptr {view}, i64 {span})
  br i1 %filled{n}, label %{check.label}, label %{leave}
"""
        return text, cold, f"%addend{n}"
