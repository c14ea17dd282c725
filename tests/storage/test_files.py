"""Raw images, overlays, finding formats, locks, errors that people see."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time

import pytest

from popek.base.errors import BadInput, PopekError
from popek.storage import file as files
from popek.storage.block import open_disk, recognise
from popek.storage.errors import BadDisk, DiskFull, DiskInUse
from popek.storage.file import File, cut
from popek.storage.overlay import Overlay
from popek.storage.qcow2_create import create
from popek.storage.raw import Raw
from tests.storage.images import exercise, needs_qemu_img, qemu_img, read, write


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(os.urandom(1 << 20))
    return path


def test_raw(image) -> None:
    model = bytearray(image.read_bytes())
    disk = open_disk(str(image), "raw")
    assert disk.size == 1 << 20 and not disk.read_only
    exercise(disk, model, random.Random(1), 300)
    disk.flush()
    disk.close()
    assert image.read_bytes() == model


def test_many_small_views(image) -> None:
    """More pieces than one system call takes."""
    disk = open_disk(str(image), "raw")
    data = os.urandom(3000 * 2)
    disk.write_from(512, [memoryview(data)[n : n + 2] for n in range(0, len(data), 2)])
    back = bytearray(len(data))
    disk.read_into(512, [memoryview(back)[n : n + 1] for n in range(len(back))])
    assert back == data
    disk.close()


def test_short_transfers(image, monkeypatch) -> None:
    """The kernel may take less than it is given."""
    real = os.pwritev
    monkeypatch.setattr(files.os, "pwritev", lambda fd, views, at: real(fd, [views[0][:7]], at))
    disk = open_disk(str(image), "raw")
    data = os.urandom(1024)
    write(disk, 0, data, 100, 333)
    assert image.read_bytes()[:1024] == data
    disk.close()


def test_last_sector_in_part(tmp_path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"x" * 700)
    disk = open_disk(str(path))
    assert disk.size == 1024 and read(disk) == b"x" * 700 + bytes(324)
    disk.close()


def test_discard_makes_holes(image) -> None:
    disk = open_disk(str(image), "raw")
    before = image.stat().st_blocks
    disk.discard(0, 1 << 19)
    if image.stat().st_blocks == before:
        pytest.skip("no holes on this file system")
    assert read(disk, 0, 4096) == bytes(4096)
    disk.close()


def test_overlay_leaves_the_base(image) -> None:
    before = image.read_bytes()
    model = bytearray(before)
    disk = open_disk(str(image), overlay=True)
    assert not disk.read_only
    exercise(disk, model, random.Random(2), 600)
    disk.flush()
    disk.close()
    assert image.read_bytes() == before


def test_overlay_of_an_odd_size(tmp_path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(os.urandom(512 * 77))
    disk = open_disk(str(path), overlay=True)
    exercise(disk, bytearray(path.read_bytes()), random.Random(3), 400)
    disk.close()


def test_overlay_of_a_huge_disk_is_small(tmp_path) -> None:
    path = tmp_path / "huge"
    with open(path, "wb") as file:
        try:
            file.truncate(8 << 40)
        except OSError:
            pytest.skip("no files of 8 TiB here")
    disk = open_disk(str(path), overlay=True)
    assert isinstance(disk, Overlay) and disk.count <= 1 << 24
    write(disk, (8 << 40) - 512, b"z" * 512)
    assert read(disk, (8 << 40) - 1024, 1024) == bytes(512) + b"z" * 512
    assert os.fstat(disk.file.fd).st_blocks * 512 < 4 << 20
    disk.close()


def test_formats_are_found() -> None:
    assert recognise(b"QFI\xfb\0\0\0\x03") == "qcow2" and recognise(b"QFI\xfb\0\0\0\x01") == "qcow"
    assert recognise(b"KDMV") == "vmdk" and recognise(b"anything") == "raw" and recognise(b"") == "raw"


@pytest.mark.parametrize("format", ["vmdk", "vdi", "vpc", "vhdx", "qed"])
@needs_qemu_img
def test_other_formats_are_refused(tmp_path, format) -> None:
    qemu_img("create", "-f", format, tmp_path / "x", "10M")
    with pytest.raises(BadDisk, match="not supported"):
        open_disk(str(tmp_path / "x"))


def test_the_guest_cannot_change_a_guessed_format(image) -> None:
    """Else the next start would open whatever backing file the guest names."""
    disk = open_disk(str(image))
    with pytest.raises(PopekError, match="look like another format"):
        write(disk, 0, b"QFI\xfb\0\0\0\3".ljust(512, b"\0"))
    write(disk, 0, b"innocent".ljust(512, b"\0"))
    with pytest.raises(PopekError, match="look like another format"):
        write(disk, 0, b"QFI\xfb\0\0\0\3".ljust(8192, b"\0"), 2)
    disk.close()
    disk = open_disk(str(image), "raw")
    write(disk, 0, b"QFI\xfb\0\0\0\3".ljust(512, b"\0"))
    disk.close()


def test_errors_people_see(tmp_path, image) -> None:
    for path, match in ((tmp_path / "none", "no such file"), (tmp_path, "folder")):
        with pytest.raises(BadInput, match=match):
            open_disk(str(path))
    (tmp_path / "empty").touch()
    with pytest.raises(BadDisk, match="empty"):
        open_disk(str(tmp_path / "empty"))
    with pytest.raises(BadInput, match="no format"):
        open_disk(str(image), "vmfs")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="neither"):
        open_disk(str(tmp_path / "pipe"), read_only=True)
    with pytest.raises(BadDisk, match="not a qcow2"):
        open_disk(str(image), "qcow2")


def test_full_host(image, monkeypatch) -> None:
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    disk = open_disk(str(image), "raw", read_only=True)
    with pytest.raises(PopekError):
        write(disk, 0, bytes(512))
    disk.close()
    disk = open_disk(str(image), "raw")
    monkeypatch.setattr(files.os, "pwritev", full)
    with pytest.raises(DiskFull, match="no space left"):
        write(disk, 0, bytes(512))
    disk.close()


def test_one_writer(image) -> None:
    disk = open_disk(str(image))
    for options in ({}, {"read_only": True}, {"overlay": True}):
        with pytest.raises(DiskInUse):
            open_disk(str(image), **options)
    disk.close()
    readers = [open_disk(str(image), read_only=True), open_disk(str(image), overlay=True)]
    with pytest.raises(DiskInUse):
        open_disk(str(image))
    for reader in readers:
        reader.close()
    open_disk(str(image)).close()


def test_a_writer_in_another_process(image) -> None:
    code = f"from popek.storage.block import open_disk; open_disk({str(image)!r}); print('open', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"open\n"
        with pytest.raises(DiskInUse):
            open_disk(str(image))
    finally:
        other.kill()
        other.communicate()
    open_disk(str(image)).close()


@needs_qemu_img
def test_qemu_keeps_off_our_images(image, tmp_path) -> None:
    copy = ("convert", "-f", "raw", image, tmp_path / "copy")
    disk = open_disk(str(image))
    done = subprocess.run(["qemu-img", *copy], capture_output=True, text=True)
    assert done.returncode and "lock" in done.stderr
    disk.close()
    qemu_img(*copy)


@needs_qemu_img
def test_we_keep_off_qemus_images(image, tmp_path) -> None:
    if not shutil.which("qemu-system-riscv64"):
        pytest.skip("needs qemu-system-riscv64")
    drive = f"if=virtio,format=raw,file={image}"
    machine = subprocess.Popen(["qemu-system-riscv64", "-M", "virt", "-S", "-display", "none", "-drive", drive])
    try:
        deadline = time.monotonic() + 20
        copy = ["qemu-img", "convert", "-f", "raw", image, tmp_path / "copy"]
        while subprocess.run(copy, capture_output=True).returncode == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for options in ({}, {"read_only": True}):
            with pytest.raises(DiskInUse):
                open_disk(str(image), **options)
    finally:
        machine.kill()
        machine.wait()


def test_cut() -> None:
    views = [memoryview(b"abc"), memoryview(b""), memoryview(b"defgh")]
    for sizes in ([8], [1, 7], [3, 5], [0, 4, 0, 4], [2, 2, 2, 2]):
        pieces = cut(views, sizes)
        assert [sum(map(len, piece)) for piece in pieces] == sizes
        assert b"".join(b"".join(piece) for piece in pieces) == b"abcdefgh"


def test_create_does_not_overwrite(image) -> None:
    with pytest.raises(BadInput, match="such a file already"):
        create(str(image), 1 << 20)
    with pytest.raises(BadInput, match="cannot build on"):
        create(str(image) + "x", 1 << 20, backing="y")


def test_a_closed_file_can_be_closed_again(image) -> None:
    file = File(str(image), False)
    disk = Raw(file, False)
    disk.close()
    disk.close()
