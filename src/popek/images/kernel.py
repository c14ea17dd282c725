"""The kernel out of Debian's package: the image itself, and the few modules a guest needs, in the order to load them.

The package has no modules.dep (its installation makes one), so the order comes from the modules' own `.modinfo`
(Linux, include/linux/moduleinfo: `name=`, `depends=`, `alias=`).
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from popek.images.deb import Deb
from popek.images.errors import BadPackage

# A module may ask for an algorithm by name at run time, which `depends=` does not tell.
SOFT_DEPENDS = {"jbd2": ("crc32c_generic",), "ext4": ("crc32c_generic",)}


@dataclass(frozen=True)
class Kernel:
    """A kernel image and modules; `order` puts what is depended on first."""

    version: str
    image: bytes
    modules: dict[str, bytes]  # name -> unpacked .ko
    order: list[str]


def from_package(path: Path, wanted: Iterable[str]) -> Kernel:
    """boot/vmlinu[xz]-VERSION and the `wanted` modules with all they need."""
    image = b""
    version = ""
    packed: dict[str, tuple[str, bytes]] = {}
    for member, content in Deb(path).data():
        folder, _, name = member.name.rpartition("/")
        if content is None:
            continue
        if folder == "boot" and name.startswith(("vmlinux-", "vmlinuz-")):
            image, version = content.read(), name.partition("-")[2]
        elif "/kernel/" in member.name and ".ko" in name:
            stem, _, suffix = name.partition(".ko")
            packed[stem.replace("-", "_")] = suffix, content.read()
    if not image:
        raise BadPackage(f"{path.name} holds no kernel")
    modules: dict[str, bytes] = {}
    order: list[str] = []

    def load(name: str, asker: str) -> None:
        name = name.replace("-", "_")
        if name in modules:
            return
        if name not in packed:
            raise BadPackage(f"{path.name} has no module {name}, which {asker} needs")
        modules[name] = unpacked(*packed[name])
        for other in (*SOFT_DEPENDS.get(name, ()), *depends(modules[name], name)):
            load(other, name)
        order.append(name)

    for name in wanted:
        load(name, "the guest")
    return Kernel(version, image, modules, order)


def unpacked(suffix: str, data: bytes) -> bytes:
    """A module as the kernel takes it without help."""
    match suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".zst":
            import zstandard

            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
        case ".gz":
            import gzip

            return gzip.decompress(data)
        case _:
            return data


def depends(module: bytes, name: str) -> list[str]:
    """`depends=a,b` of a module's .modinfo section."""
    for entry in section(module, b".modinfo", name).split(b"\0"):
        if entry.startswith(b"depends="):
            return [word for word in entry[8:].decode("ascii", "replace").split(",") if word]
    return []


def section(elf: bytes, wanted: bytes, name: str) -> bytes:
    """The bytes of one section of a 64-bit little-endian ELF file (gABI chapter 4)."""
    try:
        if elf[:6] != b"\x7fELF\2\1":
            raise ValueError("no 64-bit ELF file")
        (offset,) = struct.unpack_from("<Q", elf, 40)
        size, count, names_at = struct.unpack_from("<HHH", elf, 58)
        if offset + size * count > len(elf):
            raise ValueError("truncated")
        headers = [struct.unpack_from("<IIQQQQIIQQ", elf, offset + i * size) for i in range(count)]
        names = elf[headers[names_at][4] :][: headers[names_at][5]]
        for header in headers:
            if names[header[0] :].startswith(wanted + b"\0"):
                return elf[header[4] : header[4] + header[5]]
    except (struct.error, IndexError, ValueError) as error:
        raise BadPackage(f"{name} is a damaged file: {error}") from error
    return b""


def libraries(files: Mapping[str, bytes], start: bytes) -> list[str]:
    """The names in `files` (by base name) of all shared libraries that a program needs, its loader first."""
    found: list[str] = []
    queue = [start]
    while queue:
        for name in needed(queue.pop()):
            if name in files and name not in found:
                found.append(name)
                queue.append(files[name])
    return found


def needed(elf: bytes) -> list[str]:
    """PT_INTERP's base name and the DT_NEEDED entries (gABI chapter 5)."""
    names = [section(elf, b".interp", "a program").rstrip(b"\0").rpartition(b"/")[2].decode()]
    strings = section(elf, b".dynstr", "a program")
    for tag, value in struct.iter_unpack("<QQ", section(elf, b".dynamic", "a program")):
        if tag == 1:
            names.append(strings[value:].partition(b"\0")[0].decode())
    return [name for name in names if name]
