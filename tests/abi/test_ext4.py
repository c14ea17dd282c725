"""abi/ext4: files of what mke2fs makes; damage is a ValueError."""

import random
import shutil
import struct
import subprocess

import pytest

from popek.abi.ext4 import Ext4

MAKE = shutil.which("mke2fs") or shutil.which("mke2fs", path="/sbin:/usr/sbin")
pytestmark = pytest.mark.skipif(MAKE is None, reason="no mke2fs")


def system(data: bytes) -> Ext4:
    def read(offset: int, size: int) -> bytes:
        if not 0 <= offset <= len(data) - size:
            raise ValueError("outside")
        return data[offset : offset + size]

    return Ext4(read)


@pytest.fixture
def disk(tmp_path):
    root = tmp_path / "root"
    (root / "usr" / "bin").mkdir(parents=True)
    for i in range(300):  # more than a block of names
        (root / "usr" / f"file{i}").write_bytes(b"%d" % i)
    (root / "usr" / "bin" / "large").write_bytes(bytes(range(256)) * 1000)
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 20)
        file.write(b"end")
    path = tmp_path / "disk"
    subprocess.run([MAKE, "-q", "-F", "-t", "ext4", "-b", "1024", "-d", root, path, "16M"], check=True)
    return path.read_bytes()


def test_files(disk):
    read = system(disk)
    files = dict(read.files())
    assert len([name for name in files if name.startswith("/usr/file")]) == 300
    large = files["/usr/bin/large"]
    assert read.content(large, 0, large.size) == bytes(range(256)) * 1000
    assert read.content(large, 255_998, 100) == b"\xfe\xff" and read.content(large, large.size, 4) == b""
    sparse = files["/sparse"]
    assert read.content(sparse, 0, 9) == b"begin\0\0\0\0" and read.content(sparse, 1 << 20, 9) == b"end"


def test_damage(disk):
    chance = random.Random(11)
    head = 600 << 10  # what describes the files
    for _ in range(60):
        data = bytearray(disk)
        for _ in range(300):
            data[chance.randrange(1024, head)] = chance.randrange(256)
        try:
            read = system(bytes(data))
            for _, inode in read.files():
                read.content(inode, 0, min(inode.size, 1 << 20))
        except (ValueError, struct.error):
            pass
    with pytest.raises(ValueError):
        system(bytes(4096))
