"""Images from a made-up archive, with a guest that only pretends: what is laid out, kept, and cleaned up."""

import hashlib
import io
import multiprocessing
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from popek.images import catalog, debian, parts, signature
from popek.images.debian import BuildDisk
from popek.images.errors import BuildFailed, DiskFull, ImageError
from popek.images.progress import silent

from .made_up import Archive, Server, served, small


class Guest:
    """Stands for the machine: looks at what it is given, says what the real guest would."""

    def __init__(self, says: Sequence[str] = ("popek: unpacking", "Setting up a (1) ...", "popek: done")) -> None:
        self.says = says
        self.root: dict[str, bytes | str | None] = {}
        self.initrd = b""
        self.runs = 0

    def __call__(
        self,
        kernel: Path,
        initrd: Path,
        append: str,
        disks: Sequence[BuildDisk],
        memory: int,
        line: Callable[[str], None],
    ) -> None:
        self.runs += 1
        assert kernel.read_bytes() == b"MZ kernel" and memory >= 256 << 20 and "console=" in append
        self.initrd = initrd.read_bytes()
        target, source = disks
        assert (target.readonly, source.readonly) == (False, True)
        assert target.path.stat().st_size == debian.DISK_SIZE and target.path.stat().st_blocks == 0
        with tarfile.open(source.path) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                self.root[member.name] = content.read() if content else member.linkname or None
        with target.path.open("r+b") as disk:
            disk.write(b"formatted")
        for text in self.says:
            line(text)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    archive = small()
    with served(archive) as running:
        use(monkeypatch, running.address, archive)
        yield running


def use(monkeypatch: pytest.MonkeyPatch, address: str, archive: Archive) -> None:
    monkeypatch.setenv("POPEK_DEBIAN_MIRROR", address)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(signature, "archive_keys", lambda: archive.keys)


def get(name: str, guest: Guest, home: Path) -> catalog.Image:
    return catalog.get(name, guest, silent, str(home))


def left_behind(home: Path) -> list[str]:
    return [str(path) for path in (home / "images").rglob("*") if ".build" in path.name or path.name.startswith(".")]


def test_the_disk_and_what_is_on_it(server: Server, tmp_path: Path) -> None:
    guest = Guest()
    image = get("debian", guest, tmp_path)
    with open(image.disk, "rb") as disk:
        assert disk.read(9) == b"formatted"
    assert image.serial == "popek-root"
    assert Path(image.kernel).read_bytes() == b"MZ kernel"
    root = guest.root
    assert root["bin"] == "usr/bin" and root["usr/lib/libc.so.6"] == b"C" and "lib/libc.so.6" not in root
    assert root["etc/issue"] == b"Debian\n" and "usr/share/man/less.1" not in root and "usr/share/man" in root
    assert server.address.encode() in root["etc/apt/sources.list.d/debian.sources"]  # type: ignore[operator]
    info = "var/lib/dpkg/info"
    assert root[f"{info}/libc6:riscv64.list"] == b"/.\n/lib/libc.so.6\n"
    assert root[f"{info}/less.conffiles"] == b"/etc/less.conf\n" and root[f"{info}/format"] == b"1\n"
    assert b"/usr/share/man/less.1\n" in root[f"{info}/less.list"]  # type: ignore[operator]
    status = root["var/lib/dpkg/status"]
    assert isinstance(status, bytes)
    assert status.count(b"Status: install ok unpacked\n") == 8 and b"Package: e2fsprogs" not in status
    assert f"Conffiles:\n /etc/less.conf {hashlib.md5(b'less').hexdigest()}\n".encode() in status
    assert root["var/lib/dpkg/triggers/File"] == b"/usr/lib/x libc6:riscv64\n"
    assert root["var/lib/dpkg/triggers/ldconfig"] == b"libc6:riscv64/noawait\n"
    assert b"base-passwd\nbase-files\nlibc6:riscv64\n" in guest.initrd and b"tools/mke2fs\0" in guest.initrd
    assert sorted(path.name for path in Path(image.kernel).parent.iterdir() if "initrd" not in path.name) == [
        "busybox",
        "disk.raw",
        "modules",
        "vmlinux",
    ]


def test_modules_in_the_order_to_load_them(server: Server, tmp_path: Path) -> None:
    folder = Path(get("debian", Guest(), tmp_path).kernel).parent
    _, version, modules = parts.kept(folder)
    assert version == "6.12-riscv64"
    assert list(modules) == ["virtio_mmio", "virtio_blk", "crc32c_generic", "jbd2", "mbcache", "ext4"]


def test_later_runs_need_no_network_and_no_building(server: Server, tmp_path: Path) -> None:
    first = get("debian", Guest(), tmp_path)
    server.asked.clear()
    guest = Guest()
    assert get("debian", guest, tmp_path) == first and guest.runs == 0 and server.asked == []
    assert catalog.find("debian", str(tmp_path)) == first and catalog.find("busybox", str(tmp_path)) is None


def test_busybox(server: Server, tmp_path: Path) -> None:
    guest = Guest()
    image = get("busybox", guest, tmp_path)
    assert guest.runs == 0 and image.disk == ""
    initrd = Path(image.initrd).read_bytes()
    for name in (b"bin/zcat\0", b"init\0", b"agent\0", b"modules\0", b"lib/modules/6.12-riscv64/virtio_mmio.ko\0"):
        assert name in initrd
    assert b"ext4" not in initrd


def test_new_scripts_in_an_old_image(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = get("busybox", Guest(), tmp_path)
    Path(image.initrd).unlink()
    again = catalog.find("busybox", str(tmp_path))
    assert again == image and Path(image.initrd).exists()


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (["popek: formatting", "oops", "popek: failed the disk cannot be formatted"], "the disk cannot be formatted"),
        (["popek: unpacking packages", "Kernel panic"], "it ended while unpacking packages"),
        ([], "it ended while starting"),
    ],
)
def test_a_guest_that_fails(server: Server, tmp_path: Path, says: list[str], message: str) -> None:
    with pytest.raises(BuildFailed, match=message) as error:
        get("debian", Guest(says), tmp_path)
    assert "\n" not in error.value.line()
    assert left_behind(tmp_path) == [] and catalog.find("debian", str(tmp_path)) is None
    assert get("debian", Guest(), tmp_path)


def test_interrupted_in_the_middle(server: Server, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalog.get("debian", interrupt, silent, str(tmp_path))
    assert left_behind(tmp_path) == [] and catalog.find("debian", str(tmp_path)) is None


def test_what_a_killed_builder_left_is_removed(server: Server, tmp_path: Path) -> None:
    old = tmp_path / "images/busybox/.build-dead"
    old.mkdir(parents=True)
    (old / "half").write_bytes(b"x")
    get("busybox", Guest(), tmp_path)
    assert left_behind(tmp_path) == []


def test_a_full_disk_while_building(server: Server, tmp_path: Path) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match="no space left"):
        catalog.get("debian", full, silent, str(tmp_path))
    assert left_behind(tmp_path) == []


def test_no_image_of_this_name(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        catalog.find("debain", str(tmp_path))
    assert catalog.known() == ["busybox", "debian"]


def test_a_package_that_is_not_what_the_list_says(server: Server, tmp_path: Path) -> None:
    data, _ = server.archive.debs["less 1.0-1"]
    server.archive.add("less", version="2.0-1", architecture="all")
    path = "pool/main/less_2.0-1_all.deb"
    server.archive.files[path] = data
    stanza = (
        server.archive.debs["less 2.0-1"][1].split("Size:")[0]
        + f"Size: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    server.archive.debs["less 2.0-1"] = data, stanza
    server.archive.publish()
    with pytest.raises(ImageError, match=r"is not less 2\.0-1"):
        get("debian", Guest(), tmp_path)


def _one(home: str, results: object) -> None:
    guest = Guest()
    image = catalog.get("debian", guest, silent, home)
    results.put((image.disk, guest.runs))  # type: ignore[attr-defined]


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_one, args=(str(tmp_path), results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({disk for disk, _ in found}) == 1 and sorted(runs for _, runs in found) == [0, 0, 1]
    assert left_behind(tmp_path) == []


def test_two_packages_with_the_same_file() -> None:
    from popek.images.rootfs import RootWriter

    with RootWriter(io.BytesIO()) as writer:
        writer.file("usr/bin/x", b"1")
        with pytest.raises(ImageError, match="two packages hold usr/bin/x"):
            writer.file("bin/x", b"2")


def test_little_room_is_told_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "ROOM", 1 << 60)
    with pytest.raises(DiskFull, match="MiB are needed") as error:
        get("debian", Guest(), tmp_path)
    assert server.asked == [] and "\n" not in error.value.line()


def test_a_disk_that_fills_up_under_the_guest(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "SPARE", 1 << 60)
    with pytest.raises(DiskFull):
        get("debian", Guest(["popek: failed the packages cannot be unpacked"]), tmp_path)
