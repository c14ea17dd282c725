"""abi/image: every kernel format finds its place, everything else is one BadImage or BadInput."""

import gzip
import lzma
import os
import random
import struct

import pytest
import zstandard

from popek.abi import image
from popek.base.errors import BadImage, BadInput
from tests import elves

MIB = 1 << 20
CODE = elves.say(b"hello") + elves.finish(0x5555)


def arrange(tmp_path, kernel: bytes = b"", initrd: bytes = b"", bios: bytes = b"", memory: int = 64 * MIB):
    paths = []
    for name, data in (("kernel", kernel), ("initrd", initrd), ("bios", bios)):
        path = tmp_path / name
        path.write_bytes(data)
        paths.append(str(path) if data else "")
    return image.arrange(*paths, memory)


def zboot(payload: bytes, kind: bytes) -> bytes:
    return b"MZ\0\0zimg" + struct.pack("<II8x32s", 0x40, len(payload), kind) + bytes(8) + payload


RAW = elves.linux_image(code=os.urandom(3000))


@pytest.mark.parametrize(
    "wrapped",
    [
        RAW,
        gzip.compress(RAW),
        zstandard.ZstdCompressor().compress(RAW),
        lzma.compress(RAW),
        zboot(gzip.compress(RAW), b"gzip"),
        zboot(zstandard.ZstdCompressor().compress(RAW), b"zstd"),
        zboot(lzma.compress(RAW), b"xz"),
    ],
    ids=["raw", "gzip", "zstd", "xz", "zboot-gzip", "zboot-zstd", "zboot-xz"],
)
def test_linux_image(tmp_path, wrapped):
    boot = arrange(tmp_path, wrapped)
    assert boot.entry == 0x8020_0000 and not boot.machine_mode
    (piece,) = boot.pieces
    assert piece.address == 0x8020_0000 and bytes(piece.data) == RAW and piece.size == 0x10_0000


def test_bare_elf_starts_in_machine_mode(tmp_path):
    boot = arrange(tmp_path, elves.elf(CODE, entry=0x8000_0004))
    assert boot.machine_mode and boot.entry == 0x8000_0004
    assert [(p.address, bytes(p.data)) for p in boot.pieces] == [(0x8000_0000, CODE)]


def test_what_lies_below_memory_is_dropped(tmp_path):
    """Linkers put the ELF header's page before the code; there is no memory there."""
    boot = arrange(tmp_path, elves.elf(bytes(4096) + CODE, 0x7FFF_F000, entry=0x8000_0000))
    assert boot.machine_mode and boot.entry == 0x8000_0000
    assert [(p.address, bytes(p.data), p.size) for p in boot.pieces] == [(0x8000_0000, CODE, len(CODE))]


def test_elf_kernel_starts_in_supervisor_mode(tmp_path):
    boot = arrange(tmp_path, elves.elf(CODE, 0x8020_0000))
    assert not boot.machine_mode and boot.entry == 0x8020_0000


def test_vmlinux_is_moved(tmp_path):
    """Linux links for a virtual address and physical address 0; it runs at any 2 MiB boundary."""
    boot = arrange(tmp_path, elves.elf(CODE, 0, vaddr=0xFFFF_FFFF_8000_0000, entry=0xFFFF_FFFF_8000_0010))
    assert boot.entry == 0x8020_0010 and not boot.machine_mode
    assert boot.pieces[0].address == 0x8020_0000


def test_firmware_and_kernel(tmp_path):
    boot = arrange(tmp_path, RAW, bios=CODE)
    assert boot.machine_mode and boot.entry == 0x8000_0000
    (info,) = [p for p in boot.pieces if p.address == boot.dynamic_info]
    assert struct.unpack("<6Q", info.data) == (0x4942534F, 2, 0x8020_0000, 1, 0, 0)


def test_firmware_alone(tmp_path):
    boot = arrange(tmp_path, bios=CODE)
    assert boot.machine_mode and boot.entry == 0x8000_0000 and boot.dynamic_info


def test_position_independent_firmware(tmp_path):
    boot = arrange(tmp_path, bios=elves.elf(CODE, 0, kind=3))
    assert boot.entry == 0x8000_0000


def test_places_do_not_meet(tmp_path):
    boot = arrange(tmp_path, RAW, initrd=bytes(5 * MIB + 1))
    start, end = boot.initrd
    assert end - start == 5 * MIB + 1 and start % 4096 == 0 and end <= boot.device_tree
    assert boot.device_tree % (2 * MIB) == 0 and boot.device_tree + 2 * MIB <= 0x8000_0000 + 64 * MIB


def test_boot_data_stay_below_three_gib(tmp_path):
    boot = arrange(tmp_path, RAW, initrd=b"x" * 4096, memory=4 << 30)
    assert boot.device_tree < 0xC000_0000


@pytest.mark.parametrize(
    "kernel, says",
    [
        (b"hello world, this is text\n" * 20, "text file"),
        (b"#!/bin/sh\necho\n", "script"),
        (b"\0" * 4096, "not a kernel"),
        (b"QFI\xfb" + bytes(4096), "qcow2"),
        (random.Random(5).randbytes(4096), "not a kernel"),
        (bytes(0x38) + b"ARMd" + bytes(100), "arm64"),
        (elves.elf(CODE, machine=62), "x86-64"),
        (elves.elf(CODE, 0x1_0000), "starts at 0x10000"),
        (elves.elf(CODE, entry=0x9000_0000), "entry point"),
        (elves.elf(CODE, memsz=1 << 40), "more --memory|needs memory"),
        (elves.linux_image(in_memory=1 << 40), "do not fit"),
        (elves.linux_image(in_memory=62 * MIB), "device tree"),
        (gzip.compress(RAW)[:-20], "truncated"),
        (gzip.compress(RAW)[:20] + b"xxxxxxxxxxxxxxxxxxx", "damaged|truncated"),
        (zstandard.ZstdCompressor().compress(RAW)[:-20], "truncated|damaged"),
        (lzma.compress(RAW)[:-40], "truncated"),
        (gzip.compress(bytes(65 * MIB)), "more than 64 MiB"),
        (zstandard.ZstdCompressor().compress(bytes(65 * MIB)), "more than 64 MiB"),
        (zboot(b"abcd", b"lz4"), "lz4"),
        (zboot(gzip.compress(RAW), b"gzip")[:-4], "truncated"),
        (b"MZ\0\0zimg", "truncated"),
    ],
)
def test_bad_kernels(tmp_path, kernel, says):
    with pytest.raises(BadImage, match=says):
        arrange(tmp_path, kernel)


def test_user_programs_are_no_kernels(tmp_path):
    interpreter = struct.pack("<IIQQQQQQ", 3, 4, 0, 0, 0, 0, 0, 1)
    with pytest.raises(BadImage, match="operating system"):
        arrange(tmp_path, elves.elf(CODE, 0x1_0000, extra_headers=(interpreter,)))


def test_too_large_initrd(tmp_path):
    with pytest.raises(BadImage, match="memory"):
        arrange(tmp_path, RAW, initrd=bytes(63 * MIB))


def test_a_kernel_is_no_firmware(tmp_path):
    with pytest.raises(BadImage, match="not a firmware"):
        arrange(tmp_path, RAW, bios=RAW)


def test_files_that_cannot_be_read(tmp_path):
    for path, says in (("/nonexistent", "no such file"), (str(tmp_path), "folder"), ("/dev/null", "empty")):
        with pytest.raises(BadInput, match=says):
            image.arrange(path, "", "", 64 * MIB)
    with pytest.raises(BadInput, match="larger"):
        image.arrange("/dev/zero", "", "", 64 * MIB)


def test_mutated_kernels_never_escape(tmp_path):
    """Any damaged image is arranged or refused, within bounds."""
    chance = random.Random(2)
    sources = [elves.elf(CODE), RAW, gzip.compress(RAW), zboot(zstandard.ZstdCompressor().compress(RAW), b"zstd")]
    for i in range(400):
        data = bytearray(sources[i % len(sources)])
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(min(len(data), 200))] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        try:
            boot = arrange(tmp_path, bytes(data[: chance.randrange(1, len(data) + 1)]))
        except (BadImage, BadInput):
            continue
        for piece in boot.pieces:
            assert 0x8000_0000 <= piece.address <= piece.address + piece.size <= 0x8000_0000 + 64 * MIB
            assert len(piece.data) <= piece.size
