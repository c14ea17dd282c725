"""Which kernel module a page of code belongs to. Linking and the kernel itself change some of its instructions: the
rest must be equal, nearly all of it, and where a module lies its pages agree upon.

Not here: programs, whose pages are as in their files (profile_programs).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from popek.abi.elf_functions import Function
from popek.abi.elf_module import Code, codes
from popek.api.profile_pages import PAGE
from popek.api.sampler import Place

CHUNK = 16  # bytes by which pages are looked for
CHUNKS_ALIKE = 4
LEAST = 128  # bytes to compare
CHANGED = 8  # one byte in so many may have been changed by the kernel itself, at the entries of functions for instance


class Found(NamedTuple):
    """A page of a module."""

    module: str
    number: int  # of the section
    code: Code
    page: int  # where in the section


class Modules:
    """Modules by the content of their pages."""

    def __init__(self, wanted: Iterable[bytes]) -> None:
        """`wanted`: pages of the kernel that are not its image's."""
        self._found: dict[bytes, list[Found]] = {page: [] for page in wanted}
        self._chunks: dict[tuple[int, bytes], list[bytes]] = {}
        for page in self._found:
            for at in range(0, len(page), CHUNK):
                self._chunks.setdefault((at, page[at : at + CHUNK]), []).append(page)
        self._weight: dict[tuple[str, int, int], int] = {}

    def add(self, name: str, data: memoryview) -> None:
        """A file NAME.ko."""
        if not self._found:
            return
        module = name.removesuffix(".ko").replace("-", "_")
        for number, code in enumerate(codes(data)):
            for start in range(0, len(code.content), PAGE):
                for page in self._alike(code.content[start : start + PAGE], code.fixed[start : start + PAGE]):
                    self._found[page].append(Found(module, number, code, start))

    def _alike(self, content: bytes, fixed: bytes) -> list[bytes]:
        """The wanted pages that could be this one."""
        hits: dict[bytes, int] = {}
        whole = b"\xff" * CHUNK
        for at in range(0, len(content), CHUNK):
            if fixed[at : at + CHUNK] == whole:
                for page in self._chunks.get((at, content[at : at + CHUNK]), ()):
                    hits[page] = hits.get(page, 0) + 1
        return [page for page, count in hits.items() if count >= CHUNKS_ALIKE and _equal(page, content, fixed)]

    def weigh(self, place: Place, page: bytes, count: int) -> None:
        """Note where modules seem to be."""
        for found in self._found.get(page, ()):
            key = found.module, found.number, place.pc // PAGE * PAGE - found.page
            self._weight[key] = self._weight.get(key, 0) + count

    def at(self, place: Place, page: bytes) -> tuple[Function, int, str] | None:
        """Function, the place's address as it has them, and module."""
        candidates = self._found.get(page, ())
        if not candidates:
            return None
        best = max(
            candidates, key=lambda f: self._weight.get((f.module, f.number, place.pc // PAGE * PAGE - f.page), 0)
        )
        address = best.page + place.pc % PAGE
        function = best.code.functions.at(address)
        return (function, address, best.module) if function is not None else None


def _equal(page: bytes, content: bytes, fixed: bytes) -> bool:
    size = len(content)
    mask = int.from_bytes(fixed, "little")
    different = (int.from_bytes(page[:size], "little") ^ int.from_bytes(content, "little")) & mask
    compared, changed = size - fixed.count(0), size - different.to_bytes(size, "little").count(0)
    return compared >= LEAST and changed * CHANGED <= compared
