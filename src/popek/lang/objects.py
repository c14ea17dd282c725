"""Machine code as a thing to build, keep and call: Image (position independent bytes) and Library (mapped, callable).

Loading needs no LLVM. Memory is never writable and executable at once. The on-disk cache is cache.py's.
"""

from __future__ import annotations

import ctypes
import marshal
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from popek.lang.cache import SUM, cached, digest, fingerprint, kept
from popek.lang.linked import Linked

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"POPEKIM2"
_MARSHAL = 4  # version of the format


class LinkError(Exception):
    """An external symbol that nobody provides."""


class Image(NamedTuple):
    """A blob of machine code and data with its symbols and the addresses to fill in when it is loaded."""

    linked: Linked

    @property
    def symbols(self) -> Mapping[str, int]:
        """Offset of each symbol from the base."""
        return self.linked.symbols

    @property
    def externals(self) -> list[str]:
        """Names that must be given at `link`, unless the C library has them."""
        return sorted({name for _, name, _ in self.linked.fixups if name})

    def to_bytes(self) -> bytes:
        """Serialized, with a checksum."""
        one = self.linked
        rest = [one.split, one.size, len(one.text), len(one.data), dict(one.symbols), list(map(tuple, one.fixups))]
        head = marshal.dumps(rest, _MARSHAL)
        body = struct.pack("<I", len(head)) + head + one.text + one.data
        return MAGIC + digest(body) + body

    @staticmethod
    def from_bytes(blob: bytes) -> Image:
        """Read what `to_bytes` wrote; ValueError if it is damaged. A checksum is no proof of who wrote it."""
        view = memoryview(blob)
        start = len(MAGIC) + SUM
        if view[: len(MAGIC)] != MAGIC or digest(view[start:]) != view[len(MAGIC) : start]:
            raise ValueError("not an intact image")
        (length,) = struct.unpack_from("<I", blob, start)
        split, size, text, data, symbols, fixups = marshal.loads(view[start + 4 : start + 4 + length])
        middle = start + 4 + length + text
        return Image(Linked(blob[middle - text : middle], blob[middle : middle + data], split, size, symbols, fixups))

    def save(self, path: Path | str) -> None:
        """Write to a file."""
        with open(path, "wb") as file:
            file.write(self.to_bytes())

    @staticmethod
    def load(path: Path | str) -> Image:
        """Read from a file; ValueError if it is damaged."""
        with open(path, "rb") as file:
            return Image.from_bytes(file.read())

    def link(self, externals: Mapping[str, Any] | None = None) -> Library:
        """Map into memory, ready to call. `externals`: address (or ctypes function) of external symbols."""
        return Library(self, externals or {})


def build(
    ir_text: str | Sequence[str], opt: int = 2, exports: Iterable[str] = (), vectorize: bool = False
) -> Image:
    """Compile IR text to an Image. Several texts are compiled at the same time in processes and joined."""
    from popek.lang.compiler import compile_all
    from popek.lang.linker import link

    texts = [ir_text] if isinstance(ir_text, str) else list(ir_text)
    return Image(link(compile_all(texts, opt, list(exports), vectorize)))


class Library:
    """An Image in memory. It stays mapped as long as the Library, or a function got from it, is referenced."""

    def __init__(self, image: Image, externals: Mapping[str, Any]) -> None:
        one = image.linked
        self.image = image
        self._keep = list(externals.values())
        self._memory = mmap.mmap(-1, max(one.size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        memory = self._memory
        memory[: len(one.text)] = one.text
        memory[one.split : one.split + len(one.data)] = one.data
        found: dict[str, int] = {"": self.base}
        missing = []
        for place, name, addend in one.fixups:
            address = found.get(name)
            if address is None:
                address = _address(name, externals)
                if address is None:
                    missing.append(name)
                    address = 0
                found[name] = address
            struct.pack_into("<Q", memory, place, address + addend)
        if missing:
            raise LinkError(f"unresolved: {', '.join(sorted(set(missing)))}")
        _protect(self.base, one.split)
        if os.environ.get("POPEK_PERF"):
            self._describe_to_perf()

    def _describe_to_perf(self) -> None:
        """Append to the file from which Linux's `perf` learns the names of generated code."""
        known = sorted((at, name) for name, at in self.image.symbols.items() if at < self.image.linked.split)
        ends = [at for at, _ in known[1:]] + [self.image.linked.split]
        with open(f"/tmp/perf-{os.getpid()}.map", "a") as file:
            for (at, name), end in zip(known, ends, strict=True):
                file.write(f"{self.base + at:x} {end - at:x} {name}\n")

    def address(self, name: Any) -> int:
        """Address of a symbol (or of the subset function with that symbol)."""
        return self.base + self.image.linked.symbols[getattr(name, "symbol", name)]

    def call(self, name: Any, restype: Any, *argtypes: Any) -> Callable[..., Any]:
        """A symbol as ctypes function; calls release the GIL."""
        function = ctypes.CFUNCTYPE(restype, *argtypes)(self.address(name))
        function.library = self  # type: ignore[attr-defined]
        return function

    def function(self, function: Any) -> Callable[..., Any]:
        """An exported subset function as ctypes function of the right types; structs are passed by address."""
        from popek.lang.front import signature

        parameters, result = signature(function)
        return self.call(function, _ctype(result), *(_ctype(p.type) for p in parameters))


def _ctype(type_: Any) -> Any:
    from popek.lang.types import BoolType, IntType

    if type_ is None:
        return None
    return type_.ctype if isinstance(type_, (IntType, BoolType)) else ctypes.c_void_p


def _protect(address: int, size: int) -> None:
    """Make code executable, and no longer writable."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


def _address(name: str, externals: Mapping[str, Any]) -> int | None:
    given = externals.get(name)
    if given is not None:
        return given if isinstance(given, int) else ctypes.cast(given, ctypes.c_void_p).value
    for library in (None, "libm.so.6", "libgcc_s.so.1"):
        try:
            return ctypes.cast(getattr(ctypes.CDLL(library), name), ctypes.c_void_p).value
        except (AttributeError, OSError):
            continue
    return None


__all__ = ["Image", "Library", "LinkError", "build", "cached", "fingerprint", "kept"]
