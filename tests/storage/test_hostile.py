"""Images made to hurt: whatever is in them, opening and using them ends in a clean error or works, in bounded time."""

from __future__ import annotations

import random
import struct
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from popek.base.errors import PopekError
from popek.storage.block import open_disk
from popek.storage.errors import BadDisk
from popek.storage.qcow2_create import create
from tests.storage.images import read, write

MIB = 1 << 20
HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")


def used_image(path, bits: int = 12) -> bytes:
    """An image with something in it."""
    path.unlink(missing_ok=True)
    create(str(path), MIB, cluster_bits=bits)
    disk = open_disk(str(path))
    for at in range(0, MIB, MIB // 8):
        write(disk, at, b"d" * 5120)
    disk.write_zeroes(MIB // 8, 8192, True)
    disk.flush()
    disk.close()
    return path.read_bytes()


def use(path) -> None:
    """What a guest does; PopekErrors are fine, everything else is not."""
    start = time.monotonic()
    for options in ({"read_only": True}, {}):
        with suppress(PopekError):
            use_disk(open_disk(str(path), **options))
    assert time.monotonic() - start < 2


def use_disk(disk) -> None:
    try:
        for at in (0, 4096, MIB // 8, disk.size // 2, disk.size - 512):
            at = max(0, min(at // 512 * 512, disk.size - 512))
            with suppress(PopekError):
                read(disk, at, min(8192, disk.size - at))
            with suppress(PopekError):
                write(disk, at, b"w" * 512)
        with suppress(PopekError):
            disk.discard(0, min(disk.size, MIB))
        for _ in range(2):
            with suppress(PopekError):
                disk.flush()
    finally:
        disk.close()


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_mutated_images(tmp_path, bits) -> None:
    """Bytes of header and tables at random."""
    path = tmp_path / "a.qcow2"
    good = used_image(path, bits)
    rng = random.Random(bits)
    cluster = 1 << bits
    tables = [cluster, 2 * cluster, 3 * cluster, 4 * cluster]
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 8)):
            base = rng.choice((0, 0, *tables))
            at = base + rng.randrange(104 if base == 0 else 128)
            data[at % len(data)] = rng.choice((0, 1, 2, 0x40, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        use(path)


some = st.sampled_from
fields = st.tuples(
    st.just(b"QFI\xfb"),
    some([2, 3, 3, 4]),
    some([0, 112, 1 << 40]), some([0, 5, 1 << 31]),  # the backing file's name
    st.integers(0, 40),
    some([0, 1, 512, MIB, 1 << 40, 1 << 62, (1 << 64) - 1]),
    some([0, 0, 0, 1]),
    some([0, 1, 2, 100, 1 << 22, (1 << 32) - 1]), some([0, 4096, 12288, 1 << 55, (1 << 64) - 4096]),  # L1
    some([0, 4096, 8192, 1 << 55]), some([0, 1, 2, 2048, (1 << 32) - 1]),  # refcounts
    st.just(0), st.just(0),
    some([0, 0, 1, 2, 8, 16, 1 << 63]), st.just(0), some([0, 1]),
    st.integers(0, 9),
    some([104, 104, 112, 0, 1 << 31, 4096]),
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields, st.binary(max_size=64))
def test_any_header(tmp_path, header, rest) -> None:
    path = tmp_path / "b.qcow2"
    path.write_bytes((HEADER.pack(*header) + rest).ljust(5 * 4096, b"\0"))
    use(path)


def patched(path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_tables_with_two_uses(tmp_path) -> None:
    """An L2 table that is also the refcount table, the header, another L2 table: the guest would write into them."""
    path = tmp_path / "a.qcow2"
    for entry in (0x1000, 0x2000, 0x3000):
        used_image(path)
        patched(path, 3 * 4096, struct.pack(">Q", entry | 1 << 63))
        with pytest.raises(BadDisk, match="two uses"):
            open_disk(str(path))
    used_image(path)
    patched(path, 4096 + 8, struct.pack(">Q", 2 * 4096))
    with pytest.raises(BadDisk, match="two uses"):
        open_disk(str(path))


def test_data_that_lies_on_a_table(tmp_path) -> None:
    path = tmp_path / "a.qcow2"
    used_image(path)
    (l2,) = struct.unpack_from(">Q", path.read_bytes(), 3 * 4096)
    patched(path, l2 & (1 << 56) - 1, struct.pack(">Q", 0 | 1 << 63 | 4096))
    disk = open_disk(str(path))
    with pytest.raises(BadDisk, match="also a table"):
        write(disk, 0, b"x" * 4096)
    with pytest.raises(BadDisk):
        write(disk, MIB // 2, b"x" * 512)  # from then on, nothing is written
    before = path.read_bytes()
    with pytest.raises(BadDisk):
        disk.discard(0, MIB)
    disk.flush()
    disk.close()
    assert path.read_bytes() == before


def test_free_clusters_that_are_tables(tmp_path) -> None:
    path = tmp_path / "a.qcow2"
    used_image(path)
    patched(path, 2 * 4096, bytes(64))  # everything counts as free
    disk = open_disk(str(path))
    with pytest.raises(BadDisk, match="counts as free"):
        write(disk, MIB - 4096, b"x" * 4096)
    disk.close()


def test_compression_bombs(tmp_path) -> None:
    import zlib

    path = tmp_path / "a.qcow2"
    used_image(path)
    bomb = zlib.compress(bytes(10 * MIB), wbits=-12)[:4096]
    (l2,) = struct.unpack_from(">Q", path.read_bytes(), 3 * 4096)
    patched(path, l2 & (1 << 56) - 1, struct.pack(">Q", 1 << 62 | 7 << 58 | 8 * 4096))
    patched(path, 8 * 4096, bomb)
    use(path)


def test_a_full_refcount_table_without_end(tmp_path) -> None:
    """A thousand entries that name one full block: looking for free clusters must end."""
    path = tmp_path / "a.qcow2"
    used_image(path)
    patched(path, 2 * 4096, b"\xff" * 4096)
    patched(path, 4096, struct.pack(">Q", 8192) * 512)
    use(path)
