"""What the cache holds, and forgetting it: images, downloads, left-overs of builds that died. Nothing is made here.

A running guest keeps the files it uses open, so an image may be forgotten under it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from popek.images import catalog
from popek.images.cache import MARK
from popek.images.errors import ImageError, host_file
from popek.images.names import RECIPES

DOWNLOADS = ("debian/pool", "debian/lists")
CODE = ("code", "regions")


class State(NamedTuple):
    """One image of the catalog."""

    name: str
    built: bool
    size: int  # bytes that it takes of the host's disk
    version: str


def states(where: str = "") -> list[State]:
    """All known images."""
    return [_state(name, where) for name in catalog.known()]


def remove(name: str, where: str = "") -> bool:
    """Forget an image; False if it is not built. ImageError while somebody builds it, KeyError for an unknown name."""
    RECIPES[name]
    images = Path(where or catalog.home()) / "images"
    if not (images / name).is_dir():
        return False
    with _held(images / f"{name}.lock", name):
        found = catalog.find(name, where) is not None
        with host_file(images / name):
            shutil.rmtree(images / name)
    return found


def prune(everything: bool = False, where: str = "") -> int:
    """Forget downloads, images of older recipes and what dead builders left; the bytes freed.

    With `everything` all images and the compiled code go too. What a running build needs stays.
    """
    base = Path(where or catalog.home())
    images = base / "images"
    before = _size(base)
    building = False
    for folder in sorted(images.iterdir()) if images.is_dir() else []:
        if not folder.is_dir():
            continue
        try:
            with _held(images / f"{folder.name}.lock", folder.name):
                _tidy(folder, everything or folder.name not in RECIPES)
        except ImageError:
            building = True
    for part in () if building else DOWNLOADS:
        shutil.rmtree(base / part, ignore_errors=True)
    for part in CODE if everything else ():
        shutil.rmtree(base / part, ignore_errors=True)
    return max(before - _size(base), 0)


class Use(NamedTuple):
    """Bytes of the host's disk: images and what they were made from, Popek's compiled code, that of guests."""

    images: int
    code: int
    regions: int


def use(where: str = "") -> Use:
    """What the cache takes."""
    base = Path(where or catalog.home())
    code, regions = (_size(base / part) for part in CODE)
    return Use(max(_size(base) - code - regions, 0), code, regions)


def _tidy(folder: Path, wholly: bool) -> None:
    with host_file(folder):
        if wholly:
            shutil.rmtree(folder)
            return
        mark = folder / MARK
        current = mark.read_text().strip() if mark.exists() else ""
        for path in folder.iterdir():
            if path.is_dir() and path.name != current:
                shutil.rmtree(path)


def _state(name: str, where: str) -> State:
    image = catalog.find(name, where)
    if image is None:
        return State(name, False, 0, "")
    folder = Path(image.kernel).parent
    return State(name, True, _size(folder), folder.name)


def _size(folder: Path) -> int:
    """Bytes on the disk: a sparse file counts for what it holds."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                continue  # it went away just now
    return total


@contextmanager
def _held(lock: Path, name: str) -> Iterator[None]:
    """The lock of the image's builder, or ImageError."""
    with host_file(lock), open(lock, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImageError(f"{name} is being built by another popek", "wait for it, or stop it") from None
        yield
