"""The image `busybox`: Debian's kernel and static busybox, nothing else; it lives in memory."""

from __future__ import annotations

from pathlib import Path

from popek.images import parts
from popek.images.errors import room_for
from popek.images.kernel import from_package
from popek.images.progress import Progress

MODULES = ("virtio_mmio",)
ROOM = 192 << 20


def build(folder: Path, cache: Path, progress: Progress) -> str:
    """Fill `folder` with kernel, modules and busybox; returns the key of the packages."""
    room_for(cache, ROOM)
    stock = parts.stock(cache, progress)
    packages = [stock.kernel, stock.busybox]
    paths = stock.archive.fetch(packages)
    progress("unpacking the kernel")
    kernel = from_package(paths[stock.kernel.name], MODULES)
    parts.keep(folder, kernel, parts.program(paths["busybox-static"], "busybox"))
    return parts.key(packages)
