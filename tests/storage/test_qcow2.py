"""qcow2 images: random requests against a model, judged by qemu-img; features; chains; power cuts."""

from __future__ import annotations

import os
import random
import shutil

import pytest

from popek.storage import file as files
from popek.storage.block import open_disk
from popek.storage.errors import BadDisk, DiskFull
from popek.storage.file import File
from popek.storage.qcow2 import Qcow2
from popek.storage.qcow2_create import create
from tests.storage.images import check, exercise, needs_qemu_img, qemu_img, read, write

MIB = 1 << 20


def options(rng: random.Random) -> tuple[str, int]:
    """Creation options of qemu-img, and a disk size that goes with them."""
    bits = rng.choice((9, 10, 12, 16, 16, 17))
    size = rng.randrange(1, 4000) * 512 * rng.choice((1, 8))
    if rng.random() < 0.3:
        return f"cluster_size={1 << bits},compat=0.10", min(size, 2 * MIB) if bits < 12 else size
    width = rng.choice((1, 2, 8, 16, 64))
    return f"cluster_size={1 << bits},compat=1.1,refcount_bits={width}", min(size, 2 * MIB) if bits < 12 else size


@needs_qemu_img
@pytest.mark.parametrize("seed", range(12))
def test_random_requests(tmp_path, seed) -> None:
    rng = random.Random(seed)
    chosen, size = options(rng)
    path, base = tmp_path / "disk.qcow2", tmp_path / "base"
    model = bytearray(size)
    backing: list[object] = []
    if rng.random() < 0.5:
        data = rng.randbytes(rng.choice((size, max(512, size // 1024 * 512), size + 51200)))
        base.write_bytes(data)
        model[: len(data)] = data[:size]
        backing = ["-b", base, "-F", "raw"]
    qemu_img("create", "-q", "-f", "qcow2", "-o", chosen, *backing, path, size)
    for turn in range(2):
        disk = open_disk(str(path))
        assert disk.size == size
        exercise(disk, model, rng, 120)
        disk.flush()
        disk.close()
        check(path, model, tmp_path)
        if turn == 0 and "refcount_bits=1" not in chosen.split(","):
            qemu_img("snapshot", "-c", "before", path)
            before = bytes(model)
    if "refcount_bits=1" not in chosen.split(","):
        qemu_img("snapshot", "-a", "before", path)
        check(path, before, tmp_path)


@pytest.mark.parametrize("bits", [9, 12, 16, 21])
def test_our_own_images(tmp_path, bits) -> None:
    path = tmp_path / "new.qcow2"
    create(str(path), 3 * MIB if bits > 9 else MIB, cluster_bits=bits)
    model = bytearray(3 * MIB if bits > 9 else MIB)
    disk = open_disk(str(path))
    exercise(disk, model, random.Random(bits), 200)
    disk.flush()
    disk.close()
    disk = open_disk(str(path), read_only=True)
    assert read(disk) == model
    disk.close()
    if shutil.which("qemu-img"):
        check(path, model, tmp_path)


@needs_qemu_img
@pytest.mark.parametrize("kind", ["zlib", "zstd"])
def test_compressed_clusters(tmp_path, kind) -> None:
    raw, path = tmp_path / "raw", tmp_path / "c.qcow2"
    rng = random.Random(5)
    model = bytearray(b"".join(rng.randbytes(100) * 41 for _ in range(1100))[: 4 * MIB - 1536])
    raw.write_bytes(model)
    qemu_img("convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind}", raw, path)
    disk = open_disk(str(path))
    assert read(disk) == model
    exercise(disk, model, rng, 200)
    disk.flush()
    disk.close()
    check(path, model, tmp_path)


@needs_qemu_img
def test_growing_past_the_refcount_table(tmp_path) -> None:
    """Small clusters: new refcount blocks, then a longer table."""
    path = tmp_path / "grow.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512,refcount_bits=64", path, 8 * MIB)
    model = bytearray(os.urandom(8 * MIB))
    disk = open_disk(str(path))
    for at in range(0, 8 * MIB, 100 * 512):
        write(disk, at, bytes(model[at : at + 100 * 512]))
    assert read(disk) == model
    disk.flush()
    disk.close()
    check(path, model, tmp_path)


@needs_qemu_img
def test_chains(tmp_path) -> None:
    names = [tmp_path / f"{n}.qcow2" for n in range(4)]
    create(str(names[0]), MIB)
    model = bytearray(MIB)
    for n, path in enumerate(names):
        if n:
            create(str(path), MIB, backing=names[n - 1].name, backing_format="qcow2")
        disk = open_disk(str(path))
        exercise(disk, model, random.Random(n), 60)
        disk.flush()
        disk.close()
    check(names[-1], model, tmp_path)


def rebacked(path, backing: str, format: str = "qcow2") -> None:
    path.unlink(missing_ok=True)
    create(str(path), MIB, backing=backing, backing_format=format)


def test_backing_files_that_go_in_circles(tmp_path) -> None:
    a, b = tmp_path / "a.qcow2", tmp_path / "b.qcow2"
    rebacked(a, "b.qcow2")
    rebacked(b, "a.qcow2")
    with pytest.raises(BadDisk, match="builds on itself"):
        open_disk(str(a))
    rebacked(a, "a.qcow2")
    with pytest.raises(BadDisk, match="builds on itself"):
        open_disk(str(a), read_only=True)


def test_chains_that_are_too_long(tmp_path) -> None:
    create(str(tmp_path / "0.qcow2"), MIB)
    for n in range(1, 18):
        rebacked(tmp_path / f"{n}.qcow2", f"{n - 1}.qcow2")
    with pytest.raises(BadDisk, match="more than 16"):
        open_disk(str(tmp_path / "17.qcow2"))
    open_disk(str(tmp_path / "15.qcow2")).close()


def test_backing_files_outside_their_folder(tmp_path) -> None:
    """An image from a stranger must not show the guest our files."""
    inside, outside = tmp_path / "images", tmp_path / "secret"
    inside.mkdir()
    outside.write_bytes(b"s" * MIB)
    path = inside / "disk.qcow2"
    for name in ("../secret", str(outside)):
        rebacked(path, name, "raw")
        for chosen in ({}, {"read_only": True}, {"overlay": True}):
            with pytest.raises(BadDisk, match="outside its folder"):
                open_disk(str(path), **chosen)
        disk = open_disk(str(path), backing_anywhere=True)
        assert read(disk, 0, 512) == b"s" * 512
        disk.close()
    (inside / "link").symlink_to(outside)
    rebacked(path, "link", "raw")
    with pytest.raises(BadDisk, match="outside its folder"):
        open_disk(str(path))
    (inside / "below").mkdir()
    shutil.copy(outside, inside / "below" / "base")
    rebacked(path, "below/base", "raw")
    open_disk(str(path)).close()


@pytest.mark.parametrize("name", ["json:{}", "nbd:localhost:1", "https://example.org/x", "a\0b"])
def test_backing_that_is_not_a_file(tmp_path, name) -> None:
    rebacked(tmp_path / "a.qcow2", name, "raw")
    with pytest.raises(BadDisk, match="builds on"):
        open_disk(str(tmp_path / "a.qcow2"))


@needs_qemu_img
@pytest.mark.parametrize(
    ("chosen", "match"),
    [("extended_l2=on,cluster_size=64k", "extended L2"), ("data_file=DATA", "external data file")],
)
def test_features_that_are_not_supported(tmp_path, chosen, match) -> None:
    path = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", chosen.replace("DATA", str(tmp_path / "data")), path, MIB)
    with pytest.raises(BadDisk, match=match):
        open_disk(str(path))


@pytest.mark.parametrize("bit", [0, 1])
def test_images_that_need_repair(tmp_path, bit) -> None:
    path = tmp_path / "a.qcow2"
    create(str(path), MIB)
    with File(str(path), True) as file:
        file.write(72, (1 << bit).to_bytes(8, "big"))
    with pytest.raises(BadDisk) as caught:
        open_disk(str(path))
    assert "qemu-img check" in caught.value.hint
    open_disk(str(path), read_only=True).close()


def test_autoclear_features_are_cleared(tmp_path) -> None:
    path = tmp_path / "a.qcow2"
    create(str(path), MIB)
    with File(str(path), True) as file:
        file.write(88, b"\xff" * 8)
    open_disk(str(path)).close()
    assert path.read_bytes()[88:96] == bytes(8)


def test_a_full_host_loses_nothing(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.qcow2"
    create(str(path), 4 * MIB)
    disk = open_disk(str(path))
    model = bytearray(4 * MIB)
    exercise(disk, model, random.Random(1), 30)
    real = files.File.write_from
    monkeypatch.setattr(files.File, "write_from", lambda *_: (_ for _ in ()).throw(DiskFull("full")))
    for at in range(0, 4 * MIB, 1 << 17):
        with pytest.raises(DiskFull):
            write(disk, at, b"n" * 512)
    monkeypatch.setattr(files.File, "write_from", real)
    assert read(disk) == model
    exercise(disk, model, random.Random(2), 30)
    disk.flush()
    disk.close()
    if shutil.which("qemu-img"):
        check(path, model, tmp_path)


class Power:
    """Records every write between barriers, to build what a power cut would leave."""

    def __init__(self, path, monkeypatch) -> None:
        self.done = bytearray(path.read_bytes())  # surely on the disk
        self.since: list[tuple[int, bytes]] = []  # written since the last barrier
        real_write, real_sync, real_grow = File.write_from, File.sync, File.grow

        def write_from(file, offset, views):
            self.since.append((offset, b"".join(views)))
            real_write(file, offset, views)

        def sync(file):
            real_sync(file)
            self.apply(self.since)
            self.since.clear()

        def grow(file, size):
            self.since.append((size, b""))
            real_grow(file, size)

        monkeypatch.setattr(File, "write_from", write_from)
        monkeypatch.setattr(File, "sync", sync)
        monkeypatch.setattr(File, "grow", grow)
        monkeypatch.setattr(File, "punch", lambda *_: False)

    def apply(self, writes, image=None) -> bytearray:
        image = self.done if image is None else image
        for offset, data in writes:
            if len(image) < offset + len(data):
                image.extend(bytes(offset + len(data) - len(image)))
            image[offset : offset + len(data)] = data
        return image

    def cut(self, rng: random.Random) -> bytes:
        """One of the images that a cut right now may leave: any of the writes since the barrier, in any order."""
        some = [w for w in self.since if rng.random() < rng.choice((0.1, 0.5, 0.9))]
        return bytes(self.apply(some, bytearray(self.done)))


@needs_qemu_img
@pytest.mark.parametrize("seed", range(4))
def test_power_cuts(tmp_path, monkeypatch, seed) -> None:
    """After a cut: what was flushed is there, and qemu-img finds no error but leaks."""
    rng = random.Random(seed)
    path, left = tmp_path / "a.qcow2", tmp_path / "left.qcow2"
    size = MIB
    create(str(path), size, cluster_bits=rng.choice((9, 12)))
    disk = open_disk(str(path))
    power = Power(path, monkeypatch)
    model = bytearray(size)  # what is there in any case
    unsure: set[int] = set()  # sectors written since the last flush
    for step in range(60):
        at = rng.randrange(size // 512) * 512
        n = min(rng.randrange(1, 30) * 512, size - at)
        sectors = range(at // 512, (at + n) // 512)
        kind = rng.random()
        if kind < 0.7:
            write(disk, at, data := rng.randbytes(n))
            model[at : at + n] = data
            unsure.update(sectors)
        elif kind < 0.8:
            disk.write_zeroes(at, n, True)
            model[at : at + n] = bytes(n)
            unsure.update(sectors)
        elif kind < 0.9:
            disk.discard(at, n)
            unsure.update(sectors)
            model[at : at + n] = read(disk, at, n)
        else:
            disk.flush()
            unsure.clear()
        if step % 4 == 0:
            left.write_bytes(power.cut(rng))
            from subprocess import run

            done = run(["qemu-img", "check", left], capture_output=True, text=True)
            assert done.returncode in (0, 3), (step, done.stdout, done.stderr)  # 3: leaks only
            with monkeypatch.context() as plain:
                plain.undo()
                after = Qcow2Reader(left)
                for sector in range(size // 512):
                    if sector not in unsure:
                        assert after.data[512 * sector : 512 * sector + 512] == model[512 * sector : 512 * sector + 512]
    disk.close()


class Qcow2Reader:
    def __init__(self, path) -> None:
        disk = open_disk(str(path), read_only=True)
        assert isinstance(disk, Qcow2)
        self.data = read(disk)
        disk.close()
