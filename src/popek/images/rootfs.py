"""Packages -> one tar stream: their files, and a dpkg database that says they are unpacked but not yet configured.

That is the state in which `dpkg --unpack` leaves a system; the guest does the rest (preinst, `dpkg --configure -a`).
Formats: dpkg's doc/internals, dpkg-query(1), deb-triggers(5); Debian Policy 6 (maintainer scripts).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from popek.images import control
from popek.images.deb import Deb
from popek.images.errors import BadPackage
from popek.images.progress import Progress, silent
from popek.images.resolve import Package

INFO = "var/lib/dpkg/info"
MERGED = ("bin", "sbin", "lib", "lib64", "lib32")  # links into usr/ (base-files, usr-merge)


class RootWriter:
    """A tar archive in the making; a path is written once, the first writer wins for folders."""

    def __init__(self, out: BinaryIO) -> None:
        self.tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20)
        self.kinds: dict[str, bytes] = {}
        self.time = int(time.time())

    def add(self, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        """One entry of a package."""
        member.name = merged(member.name)
        if member.islnk():
            member.linkname = merged(member.linkname)
        if not member.name:
            return
        before = self.kinds.get(member.name)
        if before is not None:
            if member.isdir() and before in (tarfile.DIRTYPE, tarfile.SYMTYPE):
                return
            raise BadPackage(f"two packages hold {member.name}")
        self.kinds[member.name] = member.type
        member.uname = member.gname = ""
        member.pax_headers = {}
        self.tar.addfile(member, content)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A file of our own, with the folders above it."""
        self.folder(name.rpartition("/")[0])
        entry = self._entry(name, tarfile.REGTYPE, mode)
        entry.size = len(data)
        self.add(entry, io.BytesIO(data))

    def folder(self, name: str, mode: int = 0o755) -> None:
        """A folder, unless it is there already."""
        if name and name not in self.kinds:
            self.folder(name.rpartition("/")[0])
            self.add(self._entry(name, tarfile.DIRTYPE, mode), None)

    def __enter__(self) -> RootWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """The end of the archive, if it got that far."""
        if kind is None:
            self.tar.close()
        else:
            stream = self.tar.fileobj
            assert stream is not None
            stream.fileobj = io.BytesIO()  # type: ignore[attr-defined]  # what it still holds back must not go anywhere

    def _entry(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime = kind, mode, self.time
        return entry


def merged(name: str) -> str:
    """`bin/x` is `usr/bin/x` on a system with a merged /usr; the links themselves keep their names."""
    first, slash, rest = name.partition("/")
    return f"usr/{name}" if slash and rest and first in MERGED else name


def write(
    out: BinaryIO,
    packages: Sequence[Package],
    paths: dict[str, Path],
    extra: dict[str, bytes],
    left_out: Callable[[tarfile.TarInfo], bool] = lambda _: False,
    progress: Progress = silent,
) -> None:
    """The whole root as a tar archive; `extra` are files of our own, `left_out` tells which of theirs to skip."""
    with RootWriter(out) as writer:
        _write(writer, packages, paths, extra, left_out, progress)


def _write(
    writer: RootWriter,
    packages: Sequence[Package],
    paths: dict[str, Path],
    extra: dict[str, bytes],
    left_out: Callable[[tarfile.TarInfo], bool],
    progress: Progress,
) -> None:
    status: list[str] = []
    triggers: dict[str, list[str]] = {}
    ordered = sorted(packages, key=lambda package: package.name != "base-files")  # its links come before their users
    for number, package in enumerate(ordered):
        progress("preparing packages", number, len(ordered))
        _package(writer, package, paths[package.name], status, triggers, left_out)
    writer.file("var/lib/dpkg/status", "\n".join(status).encode())
    writer.file("var/lib/dpkg/available", b"")
    writer.file("var/lib/dpkg/arch", f"{next(p.architecture for p in packages if p.architecture != 'all')}\n".encode())
    writer.file(f"{INFO}/format", b"1\n")
    for name, lines in triggers.items():
        writer.file(f"var/lib/dpkg/triggers/{name}", "".join(line + "\n" for line in sorted(lines)).encode())
    for name in ("updates", "alternatives", "parts"):
        writer.folder(f"var/lib/dpkg/{name}")
    for name, data in extra.items():
        writer.file(name, data)
    progress("preparing packages", len(ordered), len(ordered))


def _package(
    writer: RootWriter,
    package: Package,
    path: Path,
    status: list[str],
    triggers: dict[str, list[str]],
    left_out: Callable[[tarfile.TarInfo], bool],
) -> None:
    deb = Deb(path)
    files = deb.control()
    stanza = files.pop("control", (b"", 0))[0].decode("utf-8", "replace")
    fields = control.fields(stanza)
    if (fields.get("Package"), fields.get("Version")) != (package.name, package.version):
        raise BadPackage(f"{path.name} is not {package.name} {package.version}")
    name = f"{package.name}:{package.architecture}" if package.multiarch_same else package.name
    configuration = _lines(files.get("conffiles", (b"", 0))[0])
    sums: dict[str, str] = {}
    listed = ["/."]
    for member, content in deb.data():
        if member.name:
            listed.append("/" + member.name)
        if content is not None and "/" + member.name in configuration:
            data = content.read()
            sums["/" + member.name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
            content = io.BytesIO(data)
        if not left_out(member):
            writer.add(member, content)
    writer.file(f"{INFO}/{name}.list", "".join(line + "\n" for line in listed).encode())
    for kind, (data, mode) in files.items():
        writer.file(f"{INFO}/{name}.{kind}", data, 0o755 if mode & 0o111 else 0o644)
    status.append(_status(stanza, [f" {file} {sums[file]}" for file in configuration if file in sums]))
    _interests(name if package.multiarch_same else package.name, files.get("triggers", (b"", 0))[0], triggers)


def _status(stanza: str, configuration: Iterable[str]) -> str:
    """The package's stanza of the status file."""
    head, *rest = stanza.rstrip("\n").split("\n")
    lines = [head, "Status: install ok unpacked", *rest]
    if configuration := list(configuration):
        lines += ["Conffiles:", *configuration]
    return "\n".join(lines) + "\n"


def _interests(name: str, text: bytes, triggers: dict[str, list[str]]) -> None:
    """What dpkg keeps of a package's `interest` lines: a file per trigger, or one file for all that are paths."""
    for line in _lines(text):
        directive, _, trigger = line.partition(" ")
        if not directive.startswith("interest"):
            continue
        trigger = trigger.strip()
        suffix = "/noawait" if directive == "interest-noawait" else ""
        if trigger.startswith("/"):
            triggers.setdefault("File", []).append(f"{trigger} {name}{suffix}")
        else:
            triggers.setdefault(trigger, []).append(f"{name}{suffix}")


def _lines(text: bytes) -> list[str]:
    """The lines of a control file without comments; a conffile's flags are not wanted here."""
    lines = (line.split("#")[0].strip() for line in text.decode("utf-8", "replace").splitlines())
    return [line for line in lines if line and not line.startswith("remove-on-upgrade ")]
