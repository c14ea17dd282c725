"""Debian package files, read as streams: ar (deb(5)) around two tar archives. Nothing is unpacked onto the host here.

Member names come out clean: relative, without `.` or `..`, so that whoever writes them stays inside its own root.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from popek.images.errors import BadPackage

AR_MAGIC = b"!<arch>\n"
CONTROL_LIMIT = 16 << 20


class Section:
    """A window of a file, readable like a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size, self.at = file, start, size, 0

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes from where we are."""
        left = self.size - self.at
        count = left if count is None or count < 0 else min(count, left)
        self.file.seek(self.start + self.at)
        data = self.file.read(count)
        self.at += len(data)
        return data

    def readable(self) -> bool:
        """For those who ask."""
        return True

    def close(self) -> None:
        """The file belongs to the package."""


def sections(file: BinaryIO, name: str) -> dict[str, Section]:
    """The members of an ar archive (ar(5), common format)."""
    if file.read(len(AR_MAGIC)) != AR_MAGIC:
        raise BadPackage(f"{name} is not a Debian package")
    found: dict[str, Section] = {}
    at = len(AR_MAGIC)
    while header := file.read(60):
        if len(header) != 60 or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise BadPackage(f"{name} is a damaged Debian package")
        size = int(header[48:58])
        found[header[:16].decode("ascii", "replace").strip().rstrip("/")] = Section(file, at + 60, size)
        at += 60 + size + size % 2
        file.seek(at)
    return found


@contextmanager
def opened(section: Section, suffix: str, name: str) -> Iterator[tarfile.TarFile]:
    """The tar archive inside one member, whatever it is compressed with."""
    stream: IO[bytes]
    match suffix:
        case ".xz" | ".lzma":
            stream = lzma.LZMAFile(cast("IO[bytes]", section))
        case ".gz":
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=cast("BinaryIO", section)))
        case ".zst":
            import zstandard

            stream = zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", section), read_across_frames=True)
        case "":
            stream = cast("IO[bytes]", section)
        case _:
            raise BadPackage(f"{name} is compressed with {suffix}, which nothing here reads")
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive:
            yield archive
    except (tarfile.TarError, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise BadPackage(f"{name} is a damaged Debian package: {error}") from error


class Deb:
    """One package file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def part(self, which: str) -> Iterator[tarfile.TarFile]:
        """`control` or `data`."""
        with self.path.open("rb") as file:
            for name, section in sections(file, self.path.name).items():
                stem, dot, suffix = name.partition(".tar")
                if stem == which and dot:
                    with opened(section, suffix, self.path.name) as archive:
                        yield archive
                    return
        raise BadPackage(f"{self.path.name} has no {which}.tar")

    def control(self) -> dict[str, tuple[bytes, int]]:
        """The files of the control archive: name -> (content, mode)."""
        files: dict[str, tuple[bytes, int]] = {}
        with self.part("control") as archive:
            for member in archive:
                name = clean(member.name, self.path.name)
                if member.isfile() and "/" not in name and member.size <= CONTROL_LIMIT:
                    content = archive.extractfile(member)
                    assert content is not None
                    files[name] = (content.read(), member.mode)
        return files

    def data(self) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        """The package's files in order, with clean names; the content of a regular file must be read at once."""
        with self.part("data") as archive:
            for member in archive:
                member.name = clean(member.name, self.path.name)
                if member.islnk():
                    member.linkname = clean(member.linkname, self.path.name)
                elif not (
                    member.isfile()
                    or member.isdir()
                    or member.issym()
                    or member.ischr()
                    or member.isblk()
                    or member.isfifo()
                ):
                    raise BadPackage(f"{self.path.name}: {member.name} is of an unknown kind")
                yield member, archive.extractfile(member) if member.isfile() else None


def clean(name: str, package: str) -> str:
    """`./usr/bin/` -> `usr/bin`; the root itself is the empty name. A name that climbs out is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise BadPackage(f"{package} holds the path {name!r}, which leads outside")
    return "" if str(path) == "." else str(path)
