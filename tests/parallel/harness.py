"""Runs a guest on several harts and looks at its memory afterwards. No assertions here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.parallel.shapes import RESULTS, STRIDE, XS, YS, Shape, guest
from tests.vmm.guests import machine


def after(folder: Path, text: str, harts: int, engine: str, places: list[tuple[int, int]], timeout: float = 120):
    """Run it to power-off; the bytes at `places` (address, size). None if it did not end."""
    with machine(folder, text, engine=engine, harts=harts) as made:
        made.start()
        if made.wait(timeout) is None:
            return None
        return [bytes(made._memory.read(address, size)) for address, size in places]


def histogram(folder: Path, shape: Shape, rounds: int, engine: str) -> Counter:
    """How often each outcome (values read; x and y in the end) was seen; empty if the guest hung."""
    size = rounds * STRIDE
    found = after(folder, guest(shape, rounds), len(shape.bodies), engine, [(XS, size), (YS, size), (RESULTS, size)])
    seen: Counter = Counter()
    for at in range(0, size if found else 0, STRIDE):
        x, y = (int.from_bytes(part[at : at + 4], "little") for part in found[:2])
        r = tuple(int.from_bytes(found[2][i : i + 8], "little") for i in range(at, at + 16 * len(shape.bodies), 8))
        seen[r, x, y] += 1
    return seen
