"""Slimmed kernel modules, judged by binutils where they are installed."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from popek.images import modules

from .made_up import module

SOURCE = """
.section .init.text,"ax"
.globl init_module
init_module:
.Lunused: beqz a0, .Lused
  call printk
.Lused: lla a1, text
  ret
unused_label: ret
.section .rodata
text: .asciz "hello"
.type counter, @object
.data
counter: .dword init_module
.bss
.zero 64
"""


def assembled(folder: Path) -> bytes:
    if not shutil.which("riscv64-linux-gnu-as"):
        pytest.skip("no RISC-V binutils here")
    (folder / "a.s").write_text(SOURCE)
    subprocess.run(["riscv64-linux-gnu-as", "-mrelax", "-o", "a.o", "a.s"], cwd=folder, check=True)
    return (folder / "a.o").read_bytes()


def read(folder: Path, data: bytes, what: str) -> list[str]:
    (folder / "b.o").write_bytes(data)
    run = subprocess.run(["riscv64-linux-gnu-readelf", what, "-W", "b.o"], cwd=folder, capture_output=True, check=True)
    assert not run.stderr
    return run.stdout.decode().splitlines()


def code(folder: Path, data: bytes) -> list[str]:
    """Disassembly and relocations, without the names of labels."""
    (folder / "b.o").write_bytes(data)
    run = subprocess.run(["riscv64-linux-gnu-objcopy", "-O", "binary", "-j", ".init.text", "b.o", "b.bin"], cwd=folder)
    assert run.returncode == 0
    return [(folder / "b.bin").read_bytes().hex()]


def test_what_goes_and_what_stays(tmp_path: Path) -> None:
    full = assembled(tmp_path)
    slim = modules.slim(full)
    assert len(slim) < len(full)
    symbols = " ".join(read(tmp_path, slim, "-s"))
    for name in ("init_module", "printk", "counter"):
        assert f" {name}" in symbols
    assert "unused_label" not in symbols and ".Lused" not in symbols
    assert code(tmp_path, slim) == code(tmp_path, full)
    relocations = [
        [line.split()[:3] for line in read(tmp_path, data, "-r") if "R_RISCV" in line] for data in (full, slim)
    ]
    assert [(row[0], row[2]) for row in relocations[0]] == [(row[0], row[2]) for row in relocations[1]]
    assert modules.slim(slim) == slim


def test_relocations_still_mean_the_same(tmp_path: Path) -> None:
    """The same place gets the same symbol's value, whatever the symbol's number is now."""
    full = assembled(tmp_path)

    def targets(data: bytes) -> list[tuple[str, ...]]:
        rows = [line.split() for line in read(tmp_path, data, "-r") if "R_RISCV" in line and len(line.split()) > 4]
        return [(row[0], row[2], row[3]) for row in rows]

    assert targets(modules.slim(full)) == targets(full) != []


def test_signatures() -> None:
    signature = b"s" * 100
    signed = module() + signature + struct.pack(">8xI", len(signature)) + modules.MARK
    assert modules.unsigned(signed) == module()
    assert modules.slim(signed) == module()  # nothing to slim in it: it has no symbols
    assert modules.unsigned(modules.MARK) == modules.MARK


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"hello" * 100, module()[:80], b"\x7fELF\2\1" + bytes(200)])
def test_what_is_not_understood_stays(data: bytes) -> None:
    assert modules.slim(data) == data
