"""Where a guest spent its time: samples become functions, a table and a flame graph. For `popek profile`.

Lives here: symbols of ELF files and System.map texts, attribution, the SVG. Not here: taking samples (sampler).
"""

from __future__ import annotations

from bisect import bisect_right
from html import escape
from typing import NamedTuple

from popek.abi import elf
from popek.api.sampler import Sample
from popek.base.errors import BadInput

MODES = {0: "user", 1: "kernel", 3: "machine"}


class Symbols:
    """Names of addresses. A function reaches to the next symbol."""

    def __init__(self) -> None:
        self._named: dict[int, str] = {}
        self._sorted: list[int] = []

    def add(self, path: str) -> None:
        """Take the symbols of an ELF file, or of a text of lines `address type name`. Raises BadInput, OSError."""
        with open(path, "rb") as file:
            data = file.read()
        if elf.is_elf(memoryview(data)):
            found = [(one.value, one.name.decode("utf-8", "replace")) for one in elf.functions(memoryview(data))]
        else:
            found = _of_text(data)
        if not found:
            raise BadInput(f"{path}: no symbols in it", "give an ELF file with a symbol table, or a System.map")
        for address, name in found:
            self._named.setdefault(address, name)
        self._sorted = sorted(self._named)

    def name(self, pc: int) -> str:
        """The function that an address lies in, or the address."""
        at = bisect_right(self._sorted, pc)
        return self._named[self._sorted[at - 1]] if at and pc - self._sorted[at - 1] < 1 << 20 else f"{pc:#x}"


def _of_text(data: bytes) -> list[tuple[int, str]]:
    found = []
    for line in data.decode("ascii", "replace").splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] in "tTwW":
            try:
                found.append((int(words[0], 16), words[2]))
            except ValueError:
                continue
    return found


class Row(NamedTuple):
    """One function: samples in it, samples in it and what it called."""

    name: str
    where: str
    own: int
    total: int


Stacks = dict[tuple[str, ...], int]


def stacks(samples: dict[Sample, int], symbols: Symbols) -> Stacks:
    """Samples by call stack, outermost first: the mode, then functions."""
    made: Stacks = {}
    for sample, count in samples.items():
        stack = (MODES.get(sample.mode, "other"), *_frames(sample, symbols))
        made[stack] = made.get(stack, 0) + count
    return made


def _frames(sample: Sample, symbols: Symbols) -> list[str]:
    return [symbols.name(pc) for pc in (*reversed([pc - 1 for pc in sample.frames if pc]), sample.pc)]


def table(made: Stacks) -> list[Row]:
    """Functions, by their own samples."""
    own: dict[tuple[str, str], int] = {}
    total: dict[tuple[str, str], int] = {}
    for (where, *names), count in made.items():
        own[names[-1], where] = own.get((names[-1], where), 0) + count
        for name in set(names):
            total[name, where] = total.get((name, where), 0) + count
    rows = [Row(name, where, own.get((name, where), 0), count) for (name, where), count in total.items()]
    return sorted(rows, key=lambda row: (-row.own, -row.total, row.name))


class _Node:
    def __init__(self) -> None:
        self.count = 0
        self.below: dict[str, _Node] = {}


WIDTH, HEIGHT, LEAST = 1200, 17, 0.4  # pixels: of the picture, of a line, of the narrowest box drawn


def flame(made: Stacks, title: str) -> str:
    """A flame graph: callers below, what they called above, widths as samples. One self-contained SVG."""
    root = _Node()
    for stack, count in made.items():
        node = root
        node.count += count
        for name in stack:
            node = node.below.setdefault(name, _Node())
            node.count += count
    depth = max((len(stack) for stack in made), default=0) + 1
    height = HEIGHT * (depth + 2)
    boxes: list[str] = []
    waiting = [("all", root, 0.0, 0)]
    while waiting:
        name, node, left, level = waiting.pop()
        width = WIDTH * node.count / root.count if root.count else 0.0
        if width < LEAST:
            continue
        y = height - HEIGHT * (level + 1)
        share = 100 * node.count / root.count
        text = escape(f"{name}: {node.count} samples, {share:.2f} %")
        shown = escape(name[: int(width / 7)]) if width > 30 else ""
        hue = 10 + sum(name.encode()) % 45
        boxes.append(
            f'<g><title>{text}</title><rect x="{left:.2f}" y="{y}" width="{width:.2f}" height="{HEIGHT - 1}" '
            f'fill="hsl({hue},80%,65%)"/><text x="{left + 3:.2f}" y="{y + 12}">{shown}</text></g>'
        )
        for below, child in sorted(node.below.items()):
            waiting.append((below, child, left, level + 1))
            left += WIDTH * child.count / root.count
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="monospace" '
        f'font-size="11"><title>{escape(title)}</title><text x="4" y="14">{escape(title)}</text>\n'
        + "\n".join(boxes)
        + "\n</svg>\n"
    )
