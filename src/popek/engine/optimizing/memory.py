"""Accesses to guest memory in a region: which of them share a check, and the check's text.

Lives here: groups of accesses around one root, views. A *view* is what a region knows of the memory around one root:
an access is allowed if its address minus `low` is below `limit`, and lies at its address plus `addend`. Views hold from
the entry of the region, which looks whether they are still true, to its end. Not here: who fills a view (views), how
data is converted (lower).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from popek.engine.optimizing.image import RAM_BASE, VIEW_BYTES, VIEWS_AT

WIDEST = 256  # bytes that one check may cover


@dataclass
class Access:
    """One access: `size` bytes at `root` + `offset`. `leave`: the block that executes it the long way instead."""

    name: str  # the value that is the host's address of the access
    root: str
    offset: int
    size: int
    write: bool
    leave: str
    before: str | Access  # the LLVM block in which it begins
    host: str = ""  # the value that is the host's address of `root`
    check: Check | None = None  # to be made before this access


@dataclass
class Check:
    """The bytes from `low` to `high`, relative to a root, may be accessed; then `host` is the host's address of the root."""

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


@dataclass
class Checks:
    """The checks of a region. What is checked in a block holds in all blocks that it dominates."""

    bare: bool
    views: list[tuple[str, bool, int]] = field(default_factory=list)
    made: int = 0
    spans: set[int] = field(default_factory=set)  # of reads that assume bare translation

    def __post_init__(self) -> None:
        if self.bare:
            self.views.append(("ram", False, 1))

    def view(self, root: str, write: bool, span: int) -> int:
        """The number of the view for accesses of `span` bytes around a root."""
        key = (root, write, span)
        if key not in self.views:
            self.views.append(key)
        return self.views.index(key)

    def arrange(self, accesses: list[Access], known: dict[str, list[Check]]) -> None:
        """Decide which accesses of a block (in order) need a check. `known`: checks that hold already; new ones are added."""
        for at, access in enumerate(accesses):
            low, high = access.offset, access.offset + access.size
            for check in known.get(access.root, ()):
                if check.low <= low and high <= check.high and (check.write or not access.write):
                    access.host = check.host
                    break
            else:
                write = access.write
                for other in accesses[at + 1 :]:
                    if other.root == access.root:
                        wide = min(low, other.offset), max(high, other.offset + other.size)
                        if wide[1] - wide[0] <= WIDEST:
                            low, high = wide
                            write |= other.write
                self.made += 1
                access.check = Check(low, high, write, self.made)
                access.host = access.check.host
                known.setdefault(access.root, []).insert(0, access.check)

    def text(self, access: Access) -> tuple[str, str]:
        """The lines that make the access's address, with its check if it has one; and lines out of the way."""
        check, root = access.check, access.root
        address = f"  {access.name} = add i64 {access.host}, {access.offset}"
        if check is None:
            return address, ""
        n, span = check.number, check.high - check.low
        first = ""
        if root == "@base":
            root, first = f"%root{n}", f"  %root{n} = load i64, ptr @base\n"
        if self.bare and not check.write:
            self.spans.add(span)
            text = f"""{first}  %far{n} = add i64 {root}, {check.low - RAM_BASE}
  %ok{n} = icmp ult i64 %far{n}, %ram.{span}
  br i1 %ok{n}, label %got{n}, label %{access.leave}, !prof !0
got{n}:
  {check.host} = add i64 {root}, %ram.addend
"""
            return text + address, ""
        first += f"  %first{n} = add i64 {root}, {check.low}\n"
        at = VIEWS_AT + VIEW_BYTES * self.view(access.root, check.write, span)
        view = f"getelementptr (i8, ptr @data, i64 {at})"
        fill = "fill_write" if check.write else "fill_read"
        text = f"""{first}  %low{n} = load i64, ptr {view}
  %far{n} = sub i64 %first{n}, %low{n}
  %most{n} = load i64, ptr getelementptr (i8, ptr @data, i64 {at + 8})
  %ok{n} = icmp ult i64 %far{n}, %most{n}
  br i1 %ok{n}, label %got{n}, label %fill{n}, !prof !0
got{n}:
  %addend{n} = load i64, ptr getelementptr (i8, ptr @data, i64 {at + 16})
  {check.host} = add i64 {root}, %addend{n}
"""
        cold = f"""fill{n}:
  %filled{n} = call preserve_mostcc i1 @{fill}(ptr %h, i64 %first{n}, ptr {view}, i64 {span})
  br i1 %filled{n}, label %got{n}, label %{access.leave}
"""
        return text + address, cold
