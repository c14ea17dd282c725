"""What the linker makes and a start loads: a linked image in its plainest form.

Apart from the linker, so that loading needs none of it.
"""

from __future__ import annotations


class Linked:
    """A linked image. Offsets count from its base; `data` starts at `split`, a multiple of the page size."""

    __slots__ = ("data", "fixups", "size", "split", "symbols", "text")

    def __init__(
        self,
        text: bytes,
        data: bytes,
        split: int,
        size: int,
        symbols: dict[str, int],
        fixups: list[tuple[int, str, int]],
    ) -> None:
        self.text = text
        self.data = data
        self.split = split
        self.size = size
        self.symbols = symbols
        self.fixups = fixups  # (place, external name or "", addend)
