"""An image by its name: found in the cache, or built there. The way in for everyone else.

Starting a guest from a finished image passes through here every time: what only building needs is imported late.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from popek.images.names import APPEND, RECIPES, SERIAL

if TYPE_CHECKING:
    from pathlib import Path

    from popek.images.debian import Runner
    from popek.images.progress import Progress

SCRIPTS = os.path.join(os.path.dirname(__file__), "guest")


class Image(NamedTuple):
    """What a machine needs to start a guest. The files are shared and never written to."""

    name: str
    kernel: str
    initrd: str
    append: str
    disk: str  # a raw disk that the guest wants a copy-on-write view of, with the serial number `serial`; or empty
    serial: str


def known() -> list[str]:
    """The names of all images."""
    return sorted(RECIPES)


def home(environ: Mapping[str, str] = os.environ) -> str:
    """$XDG_CACHE_HOME/popek, else ~/.cache/popek (XDG Base Directory Specification)."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache")
    return os.path.join(base, "popek")


def find(name: str, where: str = "") -> Image | None:
    """The finished image `name`, if it is in the cache. KeyError for a name that is no image."""
    recipe = RECIPES[name]
    folder = os.path.join(where or home(), "images", name)
    try:
        with open(os.path.join(folder, "current")) as file:
            key = file.read().strip()
    except OSError:
        return None
    folder = os.path.join(folder, key)
    if not key.startswith(recipe.version + "-") or os.sep in key or not os.path.exists(os.path.join(folder, "vmlinux")):
        return None
    return Image(
        name,
        os.path.join(folder, "vmlinux"),
        _initrd(folder, recipe.on_disk),
        APPEND,
        os.path.join(folder, "disk.raw") if recipe.on_disk else "",
        SERIAL if recipe.on_disk else "",
    )


def get(name: str, runner: Runner, progress: Progress, where: str = "") -> Image:
    """The image `name`. The first time it is downloaded and built; later it is just there, without any network.

    `runner` boots the guest that builds an image. Raises ImageError, and KeyError for a name that is no image.
    """
    if (image := find(name, where)) is not None:
        return image
    from pathlib import Path

    from popek.images import busybox, cache, debian

    base = Path(where or home())

    def build(work: Path) -> str:
        match name:
            case "debian":
                return debian.build(work, base, runner, progress)
            case _:
                return busybox.build(work, base, progress)

    cache.ensure(base / "images", name, RECIPES[name].version, build, lambda: find(name, where) is not None, progress)
    image = find(name, where)
    assert image is not None
    return image


def _initrd(folder: str, on_disk: bool) -> str:
    """The initramfs with today's scripts: an image may be older than the Popek that starts it."""
    check = 0
    for script in (
        "agent.sh",
        "child.sh",
        "run-disk.sh" if on_disk else "run-memory.sh",
        "../initramfs.py",
        "../modules.py",
    ):
        with open(os.path.join(SCRIPTS, script), "rb") as file:
            check = zlib.crc32(file.read(), check)
    path = os.path.join(folder, f"initrd-{check:08x}")
    if not os.path.exists(path):
        from pathlib import Path

        from popek.images import cache, initramfs, parts
        from popek.images.errors import host_file

        make = initramfs.for_disk if on_disk else initramfs.for_memory
        with host_file(Path(path)):
            cache.write(Path(path), make(*parts.kept(Path(folder))))
    return path
