"""Relocations of the other host architecture: a linked image runs under QEMU's user emulation."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from popek.lang.compiler import compile_ir
from popek.lang.elf import ObjectError, read_object
from popek.lang.linker import Linked, link
from popek.lang.reloc import ARCHITECTURES
from tests.lang.test_objects import ONE, TWO

# The results are added up, so that every kind of reference counts.
MAIN = """
declare i64 @first(i64)
declare i64 @second(i64)
declare i64 @through(i64, i64)
declare double @half(double)
define i64 @main() {
  %a = call i64 @first(i64 10)
  %b = call i64 @second(i64 2)
  %c = call i64 @through(i64 0, i64 3)
  %d = call double @half(double 16.0)
  %e = fptosi double %d to i64
  %f = add i64 %a, %c
  %g = sub i64 %f, %b
  %h = add i64 %g, %e
  ret i64 %h
}
define i64 @labs(i64 %a) {
  ret i64 %a
}
"""
BASE = 0x40_0000


def executable(image: Linked, entry: str) -> bytes:
    """A static AArch64 executable of a linked image."""
    memory = bytearray(image.size)
    memory[: len(image.text)] = image.text
    memory[image.split : image.split + len(image.data)] = image.data
    for place, name, addend in image.fixups:
        assert name == ""
        struct.pack_into("<Q", memory, place, BASE + addend)
    start = image.split - 16  # bl main; mov x8, #93 (exit); svc #0
    assert not any(memory[start : start + 16])
    call = 0x94000000 | ((image.symbols[entry] - start) >> 2) & 0x3FFFFFF
    struct.pack_into("<III", memory, start, call, 0xD2800BA8, 0xD4000001)
    head = 0x10000
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, BASE + start, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    size = image.size - image.split
    for flags, at, length in ((5, 0, image.split), (6, image.split, size)):
        header += struct.pack("<IIQQQQQQ", 1, flags, head + at, BASE + at, BASE + at, length, length, 0x10000)
    return header.ljust(head, b"\0") + bytes(memory)


@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64")
@pytest.mark.parametrize("opt", [0, 2])
def test_aarch64(opt: int, tmp_path: Path) -> None:
    objects = [compile_ir(text, opt, triple="aarch64-linux-gnu") for text in (ONE, TWO, MAIN)]
    program = tmp_path / "program"
    program.write_bytes(executable(link(objects), "main"))
    program.chmod(0o755)
    assert subprocess.run(["qemu-aarch64", str(program)], timeout=60).returncode == 15 + 30 + 18 + 6


def test_aarch64_stub() -> None:
    stub = ARCHITECTURES[183].stub(0x1FF0, 0x12348)
    adrp, load, jump, _ = struct.unpack("<IIII", stub)
    page = ((adrp >> 5 & 0x7FFFF) << 2 | adrp >> 29 & 3) << 12
    assert (0x1FF0 & ~0xFFF) + page + ((load >> 10 & 0xFFF) << 3) == 0x12348
    assert adrp & 31 == 16 and load & 31 == 16 and load >> 5 & 31 == 16 and jump == 0xD61F0200


def test_only_position_independent_code_is_accepted() -> None:
    for architecture in ARCHITECTURES.values():
        with pytest.raises(ObjectError):
            architecture.apply(bytearray(16), 10_000, 0, 0)
    with pytest.raises(ObjectError):
        read_object(b"\x7fELF\x01" + bytes(100))
