"""The interface of a disk and the list of formats. Formats are found by what is in the file, one after the other.

No format's details here, no devices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from popek.storage.errors import BadDisk, BadInput
from popek.storage.file import File

SECTOR = 512
HEAD = 4096  # bytes that formats are recognised by
MAX_CHAIN = 16  # images that build on one another


class Store(Protocol):
    """A disk. Offsets and lengths lie within `size`; calls may come from any thread, one after another or at once."""

    size: int  # in bytes, whole sectors
    read_only: bool

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all of `views`, from `offset` on."""

    def write_from(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write all of `views`."""

    def flush(self) -> None:
        """What was written before survives a power cut of the host."""

    def discard(self, offset: int, length: int) -> None:
        """The guest does not need these bytes any more; they may change or stay."""

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """Make these bytes zero; with `unmap` the host may take back their space."""

    def close(self) -> None:
        """Flush nothing, let go of everything."""


class Place(NamedTuple):
    """Where an image was named: the files opened on the way to it, and where its backing file may lie."""

    chain: tuple[str, ...] = ()
    folder: str = ""  # of the first image; backing files stay in it or below it
    anywhere: bool = False


class Format(NamedTuple):
    """One format: how it is recognised, how it is opened."""

    name: str
    probe: Callable[[bytes], bool]
    open: Callable[[File, Place, bool], Store]  # the file, where it is, was its format guessed


def _qcow2(file: File, place: Place, guessed: bool) -> Store:
    from popek.storage.qcow2 import Qcow2

    return Qcow2(file, place)


def _raw(file: File, place: Place, guessed: bool) -> Store:
    from popek.storage.raw import Raw

    return Raw(file, guessed)


def _refused(file: File, place: Place, guessed: bool) -> Store:
    raise BadDisk(f"disk {file.path}: a format that is not supported", "convert it: qemu-img convert -O qcow2")


#: Formats in the order of probing; raw takes what is left. A new format is one file and one row.
FORMATS = (
    Format("qcow2", lambda head: head[:4] == b"QFI\xfb" and head[4:8] != b"\0\0\0\x01", _qcow2),
    Format("qcow", lambda head: head[:4] == b"QFI\xfb", _refused),
    Format("qed", lambda head: head[:4] == b"QED\0", _refused),
    Format("vmdk", lambda head: head[:4] in (b"KDMV", b"COWD"), _refused),
    Format("vhdx", lambda head: head[:8] == b"vhdxfile", _refused),
    Format("vpc", lambda head: head[:8] == b"conectix", _refused),
    Format("vdi", lambda head: head[64:68] == b"\x7f\x10\xda\xbe", _refused),
    Format("luks", lambda head: head[:6] == b"LUKS\xba\xbe", _refused),
    Format("raw", lambda head: True, _raw),
)


def open_disk(
    path: str, format: str = "", read_only: bool = False, overlay: bool = False, backing_anywhere: bool = False
) -> Store:
    """The disk in a file. `overlay`: the file stays as it is, writes are forgotten at the end. Raises PopekError.

    A qcow2 image may build on another image in its folder or below it; with `backing_anywhere` on any file.
    """
    folder = os.path.dirname(os.path.realpath(path))
    place = Place((), folder, backing_anywhere)
    if not overlay:
        return open_in_place(path, format, not read_only, place)
    from popek.storage.overlay import Overlay

    base = open_in_place(path, format, False, place)
    try:
        return Overlay(base)
    except BaseException:
        base.close()
        raise


def open_in_place(path: str, format: str, writing: bool, place: Place) -> Store:
    """One image of a chain; `place.chain` are the images that lead to it."""
    real = os.path.realpath(path)
    if real in place.chain:
        raise BadDisk(f"disk {path}: the image builds on itself", "its backing files go round in a circle")
    if len(place.chain) >= MAX_CHAIN:
        raise BadDisk(f"disk {path}: more than {MAX_CHAIN} images build on one another", "qemu-img rebase shortens it")
    if place.chain and not place.anywhere and os.path.commonpath([real, place.folder]) != place.folder:
        raise BadDisk(
            f"disk {place.chain[0]}: it builds on {path}, which is outside its folder",
            "only do that with images you trust: move the file, or allow backing files anywhere",
        )
    file = File(path, writing)
    try:
        chosen = _choose(file, format)
        return chosen.open(file, place._replace(chain=(*place.chain, real)), not format)
    except BaseException:
        file.close()
        raise


def recognise(head: bytes) -> str:
    """The name of the format that a file beginning with `head` has."""
    return next(f.name for f in FORMATS if f.probe(head))


def _choose(file: File, name: str) -> Format:
    if not name:
        name = recognise(file.read(0, HEAD))
    found = next((f for f in FORMATS if f.name == name), None)
    if found is None:
        raise BadInput(f"disk {file.path}: there is no format {name!r}", "there are raw and qcow2")
    return found
