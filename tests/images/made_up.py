"""A small made-up Debian archive: packages, a signed release, and a server of it that can be told to misbehave."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pysequoia


def tar(entries: list[tuple[str, Any]]) -> bytes:
    """(name, content): bytes = file, None = folder, str = symbolic link, (str,) = hard link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            elif isinstance(content, tuple):
                member.type, member.linkname = tarfile.LNKTYPE, content[0]
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def ar(members: list[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def deb(
    name: str,
    version: str = "1.0-1",
    architecture: str = "riscv64",
    files: list[tuple[str, Any]] | None = None,
    control: dict[str, bytes] | None = None,
    suffix: str = ".xz",
    **fields: str,
) -> bytes:
    """A package file; `fields` with `_` for `-`."""
    stanza = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: nobody\n"
    stanza += "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in fields.items())
    entries: list[tuple[str, Any]] = [("./", None), ("./control", stanza.encode() + b"Description: made up\n")]
    entries += [(f"./{key}", value) for key, value in (control or {}).items()]
    if suffix == ".zst":
        import zstandard

        pack = zstandard.ZstdCompressor().compress
    else:
        pack = {".xz": lzma.compress, ".gz": gzip.compress, "": bytes}[suffix]
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{suffix}", pack(tar(entries))),
            (f"data.tar{suffix}", pack(tar([("./", None), *(files or [])]))),
        ]
    )


def module(depends: str = "") -> bytes:
    """The least ELF file that has a .modinfo section."""
    names = b"\0.modinfo\0.shstrtab\0"
    info = b"license=GPL\0depends=" + depends.encode() + b"\0"
    header = struct.Struct("<IIQQQQIIQQ")
    at = 64 + len(names) + len(info)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 243, 1, 0, 0, at, 0, 64, 0, 0, 64, 3, 2)
    return (
        head
        + names
        + info
        + header.pack(*[0] * 10)
        + header.pack(1, 1, 0, 0, 64 + len(names), len(info), 0, 0, 1, 0)
        + header.pack(10, 3, 0, 0, 64, len(names), 0, 0, 1, 0)
    )


@dataclass
class Archive:
    """The mirror's files, and how to make them."""

    codename: str = "trixie"
    suite: str = "stable"
    by_hash: bool = False
    key: Any = field(default_factory=lambda: pysequoia.Tsk.generate("Test Archive <archive@example.org>"))
    debs: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def keys(self) -> list[bytes]:
        return [bytes(self.key.extract_certificate())]

    def add(
        self, name: str, version: str = "1.0-1", architecture: str = "riscv64", listed: str = "", **rest: Any
    ) -> None:
        """A package in the pool; `listed` are more lines of its stanza in the list."""
        data = deb(name, version, architecture, **rest)
        fields = "".join(
            f"{key.replace('_', '-')}: {value}\n"
            for key, value in rest.items()
            if key not in ("files", "control", "suffix")
        )
        path = f"pool/main/{name}_{version}_{architecture}.deb"
        stanza = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields}{listed}"
            f"Filename: {path}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
        self.files[path] = data
        self.debs[f"{name} {version}"] = data, stanza

    def publish(self, folder: str = "trixie", more: str = "") -> None:
        """Lists and InRelease of what is in the pool now."""
        text = "\n".join(stanza for _, stanza in self.debs.values()).encode()
        base = "main/binary-riscv64/"
        lists = {base + "Packages.xz": lzma.compress(text), base + "Packages.gz": gzip.compress(text)}
        lines = [
            f"Origin: Debian\nSuite: {self.suite}\nCodename: {self.codename}\nVersion: 13.0\n{more}"
            + ("Acquire-By-Hash: yes\n" if self.by_hash else "")
            + "SHA256:"
        ]
        for name, data in lists.items():
            digest = hashlib.sha256(data).hexdigest()
            lines.append(f" {digest} {len(data)} {name}")
            self.files[f"dists/{folder}/{name}"] = data
            if self.by_hash:
                self.files[f"dists/{folder}/{base}by-hash/SHA256/{digest}"] = data
        release = ("\n".join(lines) + "\n").encode()
        self.files[f"dists/{folder}/InRelease"] = pysequoia.sign(
            self.key.signer(), release, mode=pysequoia.SignatureMode.CLEAR
        )


@dataclass
class Server:
    """Serves an archive; the dictionaries say what goes wrong how many times."""

    archive: Archive
    address: str = ""
    asked: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)  # break off half way
    spoil: dict[str, int] = field(default_factory=dict)  # a wrong byte
    fail: dict[str, int] = field(default_factory=dict)  # status 503
    ranges: bool = True


def _take(table: dict[str, int], path: str) -> bool:
    if table.get(path, 0) > 0:
        table[path] -= 1
        return True
    return False


@contextlib.contextmanager
def served(archive: Archive) -> Iterator[Server]:
    server = Server(archive)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            server.asked.append(path)
            if _take(server.fail, path):
                self.send_error(503)
                return
            if path not in archive.files:
                self.send_error(404)
                return
            data = archive.files[path]
            if _take(server.spoil, path):
                data = bytes((data[0] ^ 1,)) + data[1:]
            start = 0
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes=") and server.ranges:
                start = int(asked[6:].rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if _take(server.cut, path):
                self.wfile.write(data[start : (start + len(data)) // 2])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(data[start:])

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up: that is the point
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def small() -> Archive:
    """Enough of a Debian to build both images of."""
    archive = Archive()
    merged = [(f"./{name}", f"usr/{name}") for name in ("bin", "lib", "sbin")]
    archive.add(
        "base-files",
        listed="Essential: yes\n",
        control={"preinst": b"#!/bin/sh\n"},
        files=[*merged, ("./usr", None), ("./usr/bin", None), ("./etc", None), ("./etc/issue", b"Debian\n")],
    )
    archive.add("base-passwd", listed="Priority: required\n", control={"preinst": b"#!/bin/sh\n"}, Depends="libc6")
    archive.add(
        "libc6",
        Multi_Arch="same",
        Depends="libgcc (>= 1)",
        files=[("./lib/libc.so.6", b"C")],
        control={"triggers": b"interest-noawait ldconfig\ninterest /usr/lib/x\n", "preinst": b"#!/bin/sh\n"},
    )
    archive.add("libgcc", Multi_Arch="same")
    for name in ("iproute2", "less", "netbase", "procps"):
        archive.add(
            name,
            architecture="all",
            control={"conffiles": f"/etc/{name}.conf\n".encode()},
            files=[
                ("./etc", None),
                (f"./etc/{name}.conf", name.encode()),
                ("./usr", None),
                ("./usr/share", None),
                ("./usr/share/man", None),
                (f"./usr/share/man/{name}.1", b"manual"),
            ],
        )
    archive.add("e2fsprogs", files=[("./usr/sbin/mke2fs", module())])
    archive.add("busybox-static", files=[("./usr/bin/busybox", b"ELF..[\0[[\0acpid\0ar\0mount\0sh\0zcat\0\0rest")])
    names = {
        "virtio_mmio": "",
        "virtio_blk": "",
        "ext4": "jbd2,mbcache",
        "jbd2": "",
        "mbcache": "",
        "crc32c_generic": "",
        "unused": "",
    }
    kernel: list[tuple[str, Any]] = [("./boot/vmlinux-6.12-riscv64", b"MZ kernel")]
    kernel += [
        (f"./usr/lib/modules/6.12-riscv64/kernel/fs/{name.replace('_', '-')}.ko.xz", lzma.compress(module(needs)))
        for name, needs in names.items()
    ]
    archive.add("linux-image-6.12-riscv64", files=kernel)
    archive.add("linux-image-riscv64", Depends="linux-image-6.12-riscv64 (= 1.0-1)")
    archive.publish()
    return archive
