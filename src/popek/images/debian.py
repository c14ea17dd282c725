"""The image `debian`: a root of Debian's own packages on an ext4 disk, made by a guest that formats and fills it.

The host downloads, verifies and lays the packages' files out as a tar archive; a first guest does what needs a Linux:
mkfs, unpacking with owners and modes, the packages' own scripts. How to run a guest is passed in.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Protocol, TypeVar

from popek.images import initramfs, parts, resolve, rootfs
from popek.images.cpio import Cpio
from popek.images.deb import Deb
from popek.images.errors import BadPackage, BuildFailed, room_for
from popek.images.kernel import Kernel, from_package, libraries
from popek.images.names import APPEND
from popek.images.progress import Progress
from popek.images.resolve import Package

T = TypeVar("T")
DISK_SIZE = 4 << 30
BUILD_MEMORY = 512 << 20
ROOM = 512 << 20  # downloads, their unpacked files, the disk: what a build writes at most
SPARE = 8 << 20  # less than this left after a failure: the disk was full
MODULES = ("virtio_mmio", "virtio_blk", "ext4")
ALSO = ("iproute2", "less", "netbase", "procps")  # beyond what every Debian has
FIRST = ("base-passwd", "base-files", f"libc6:{parts.ARCHITECTURE}")  # the preinst scripts others rely on

# Debian's own way of leaving files out (dpkg.cfg(5)); without these a root is 40% smaller. `left_out` does the same.
DPKG_CONFIGURATION = """\
# Popek's Debian leaves manuals and translations out. Remove this file and reinstall a package to have them.
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
"""


@dataclass(frozen=True)
class BuildDisk:
    """A disk of the guest that builds."""

    path: Path
    readonly: bool


class Runner(Protocol):
    """Boots a guest and returns when it has powered off. `line` gets each line of its serial console."""

    def __call__(
        self,
        kernel: Path,
        initrd: Path,
        append: str,
        disks: Sequence[BuildDisk],
        memory: int,
        line: Callable[[str], None],
    ) -> None: ...


def build(folder: Path, cache: Path, runner: Runner, progress: Progress) -> str:
    """Fill `folder` with kernel, modules, busybox and disk.raw; returns the key of the packages in it."""
    room_for(cache, ROOM)
    stock = parts.stock(cache, progress)
    root = resolve.closure(stock.universe, [*stock.universe.base(), *ALSO])
    tools = resolve.closure(stock.universe, ["e2fsprogs"])
    packages = list({package.name: package for package in [*root, *tools, stock.kernel, stock.busybox]}.values())
    paths = stock.archive.fetch(packages)
    unpacked = beside(lambda: from_package(paths[stock.kernel.name], MODULES))
    busybox = parts.program(paths["busybox-static"], "busybox")
    with open(folder / "root.tar", "wb") as out:
        rootfs.write(out, root, paths, files(stock.archive.address), left_out, progress)
    kernel = unpacked()
    parts.keep(folder, kernel, busybox)
    with open(folder / "disk.raw", "wb") as out:
        out.truncate(DISK_SIZE)
    archive = builder(kernel, busybox, root, [paths[package.name] for package in tools], paths)
    (folder / "build.cpio").write_bytes(archive)
    run(folder, cache, len(root), runner, progress)
    for name in ("build.cpio", "root.tar"):
        (folder / name).unlink()
    return parts.key(packages)


def beside(work: Callable[[], T]) -> Callable[[], T]:
    """Begin `work` in a thread (decompression leaves the interpreter's lock); what is returned waits for its result.

    Nobody waits for the thread if the build is interrupted before.
    """
    future: Future[T] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=do, daemon=True).start()
    return future.result


def files(mirror: str) -> dict[str, bytes]:
    """The few files that are ours and not a package's."""
    sources = (
        f"Types: deb\nURIs: {mirror}\nSuites: {parts.RELEASE}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp\n"
    )
    return {
        "etc/hostname": b"debian\n",
        "etc/hosts": b"127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost ip6-loopback\n",
        "etc/fstab": b"LABEL=popek / ext4 defaults,noatime 0 1\n",
        "etc/resolv.conf": b"",
        "etc/apt/sources.list.d/debian.sources": sources.encode(),
        "etc/dpkg/dpkg.cfg.d/popek": DPKG_CONFIGURATION.encode(),
    }


def left_out(member: tarfile.TarInfo) -> bool:
    """Is this one of the files that the root goes without?"""
    name = member.name
    if name.startswith("usr/share/locale/"):
        return name != "usr/share/locale/locale.alias"
    if name.startswith("usr/share/doc/") and (name.count("/") == 3 or name.endswith("/copyright")):
        return False
    return name.startswith(("usr/share/man/", "usr/share/info/", "usr/share/doc/")) and not member.isdir()


def builder(
    kernel: Kernel, busybox: bytes, root: Sequence[Package], tools: Sequence[Path], paths: dict[str, Path]
) -> bytes:
    """The initramfs of the guest that builds: busybox, mke2fs with its libraries, the list of preinst scripts."""
    found: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for path in tools:
        for member, content in Deb(path).data():
            name, target = member.name.rpartition("/")[2], member.linkname.rpartition("/")[2]
            if content is not None and (name == "mke2fs" or ".so" in name):
                found[name] = content.read()
            elif member.issym() and ".so" in name and name != target:
                links[name] = target
    if "mke2fs" not in found:
        raise BadPackage("the package e2fsprogs holds no mke2fs")
    for name, target in links.items():
        if target in found:
            found.setdefault(name, found[target])
    scripts = [
        package.name + (f":{package.architecture}" if package.multiarch_same else "")
        for package in root
        if "preinst" in Deb(paths[package.name]).control()
    ]
    scripts.sort(key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    buffer = io.BytesIO()
    out = Cpio(buffer)
    initramfs.base(out, busybox, kernel.version, {name: kernel.modules[name] for name in kernel.order}, "build.sh")
    out.file("tools/mke2fs", found["mke2fs"], 0o755)
    for name in libraries(found, found["mke2fs"]):
        out.file(f"lib/{name}", found[name], 0o755)
    out.file("preinst", "".join(f"{name}\n" for name in scripts).encode())
    out.close()
    return buffer.getvalue()


def run(folder: Path, cache: Path, packages: int, runner: Runner, progress: Progress) -> None:
    """Boot the guest that builds and follow what it says; BuildFailed with its last words if it does not finish."""
    log: list[str] = []
    configured = 0
    step = "starting the guest that builds the image"
    finished = False
    progress(step)

    def line(text: str) -> None:
        nonlocal configured, step, finished
        log.append(text)
        del log[:-200]
        if text.startswith("popek: "):
            step = text.removeprefix("popek: ")
            finished = step == "done"
            if not finished and not step.startswith("failed "):
                progress(step)
        elif text.startswith("Setting up "):
            configured += 1
            progress(step, min(configured, packages), packages)

    runner(
        folder / "vmlinux",
        folder / "build.cpio",
        APPEND,
        [BuildDisk(folder / "disk.raw", False), BuildDisk(folder / "root.tar", True)],
        BUILD_MEMORY,
        line,
    )
    if not finished:
        room_for(cache, SPARE, "")  # a full disk shows in the guest as a disk that fails
        reason = step.removeprefix("failed ") if step.startswith("failed ") else f"it ended while {step}"
        last = next((text for text in reversed(log) if text.strip() and not text.startswith(("popek: ", "["))), "")
        raise BuildFailed(f"the guest that builds the image did not finish: {reason}", last.strip())
