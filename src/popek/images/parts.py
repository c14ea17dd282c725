"""What every image starts from, out of Debian's archive: a kernel, its few modules, busybox. Kept as plain files.

vmlinux             the kernel image, as the package has it
busybox             Debian's static busybox
modules/NAME.ko     unpacked, and `modules/order` with the kernel's version and the order to load them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from popek.images import mirror, resolve
from popek.images.archive import Archive, Release
from popek.images.deb import Deb
from popek.images.errors import BadPackage
from popek.images.kernel import Kernel
from popek.images.progress import Progress
from popek.images.resolve import Package, Universe

RELEASE = "trixie"
ARCHITECTURE = "riscv64"


@dataclass(frozen=True)
class Stock:
    """A release's package list, and the means to get packages of it."""

    archive: Archive
    release: Release
    universe: Universe

    @property
    def kernel(self) -> Package:
        """The package with the newest kernel, which linux-image-riscv64 depends on."""
        meta = self.universe.get(f"linux-image-{ARCHITECTURE}")
        for group in resolve.needs(meta.fields.get("Depends", "") if meta else ""):
            if group[0].name.startswith("linux-image-") and (package := self.universe.get(group[0].name)):
                return package
        raise BadPackage("the archive has no kernel")

    @property
    def busybox(self) -> Package:
        """Debian's static busybox."""
        return resolve.closure(self.universe, ["busybox-static"])[0]


def stock(cache: Path, progress: Progress) -> Stock:
    """The archive of the host's mirror."""
    archive = Archive(mirror.find(), RELEASE, ARCHITECTURE, cache / "debian" / "pool", progress)
    release, text = archive.packages()
    progress("reading the package list")
    return Stock(archive, release, Universe(text))


def program(path: Path, name: str) -> bytes:
    """One file of a package, by its base name in a bin or sbin folder."""
    for member, content in Deb(path).data():
        folder, _, base = member.name.rpartition("/")
        if content is not None and base == name and folder.endswith("bin"):
            return content.read()
    raise BadPackage(f"{path.name} holds no {name}")


def keep(folder: Path, kernel: Kernel, busybox: bytes) -> None:
    """Write the parts into an image's folder."""
    (folder / "modules").mkdir()
    (folder / "vmlinux").write_bytes(kernel.image)
    (folder / "busybox").write_bytes(busybox)
    for name, data in kernel.modules.items():
        (folder / "modules" / f"{name}.ko").write_bytes(data)
    (folder / "modules" / "order").write_text(" ".join([kernel.version, *kernel.order]) + "\n")


def kept(folder: Path) -> tuple[bytes, str, dict[str, bytes]]:
    """busybox, the kernel's version, and the modules in order, as `keep` left them."""
    version, *order = (folder / "modules" / "order").read_text().split()
    return (
        (folder / "busybox").read_bytes(),
        version,
        {name: (folder / "modules" / f"{name}.ko").read_bytes() for name in order},
    )


def key(packages: Sequence[Package]) -> str:
    """What these packages are, in a few letters."""
    import hashlib

    lines = sorted(f"{package.name} {package.version} {package.sha256}" for package in packages)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
