"""abi/elf: headers are read right, and every kind of damage is one BadImage."""

import random
import shutil
import subprocess

import pytest

from popek.abi import elf
from popek.base.errors import BadImage
from tests import elves


def parse(data: bytes) -> elf.Elf:
    return elf.parse(memoryview(data), "x")


def test_fields():
    program = parse(elves.elf(b"\x13\0\0\0" * 4, 0x8000_1000, vaddr=0x9000, memsz=64))
    assert program.entry == 0x9000
    (segment,) = program.segments
    assert (segment.vaddr, segment.paddr, segment.size, len(segment.data)) == (0x9000, 0x8000_1000, 64, 16)


@pytest.mark.parametrize(
    "data, says",
    [
        (elves.elf(b"abcd", machine=62), "x86-64"),
        (elves.elf(b"abcd", machine=183), "AArch64"),
        (elves.elf(b"abcd", machine=9999), "machine 9999"),
        (elves.elf(b"abcd", klass=1), "64-bit"),
        (elves.elf(b"abcd", kind=1), "not linked"),
        (elves.elf(b"abcd" * 100)[:-1], "truncated"),
        (elves.elf(b"abcd")[:100], "program headers"),
        (elves.elf(b"abcd")[:40], "truncated"),
        (elves.elf(b"abcd")[:10], "truncated"),
        (elves.elf(b"abcd", memsz=2), "damaged"),
        (elves.elf(b"", memsz=0), "nothing to load"),
    ],
)
def test_damage_is_told(data, says):
    with pytest.raises(BadImage, match=says):
        parse(data)


def test_mutations_never_escape():
    """Any change of any byte gives an Elf or a BadImage (trust.md mark 5 in small)."""
    good = elves.elf(b"abcd" * 16)
    chance = random.Random(1)
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(4, len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        data = data[: chance.randrange(4, len(data) + 1)]
        try:
            parse(bytes(data)).symbol("tohost")
        except BadImage:
            pass


def test_symbols(tmp_path):
    compiler = shutil.which("riscv64-linux-gnu-gcc")
    if not compiler:
        pytest.skip("no riscv64-linux-gnu-gcc here")
    source = tmp_path / "a.S"
    source.write_text(".globl _start, tohost\n_start: j _start\n.data\n.balign 64\ntohost: .dword 0\n")
    done = tmp_path / "a.elf"
    subprocess.run([compiler, "-nostdlib", "-static", "-Wl,-Ttext=0x80000000", source, "-o", done], check=True)
    program = parse(done.read_bytes())
    from elftools.elf.elffile import ELFFile

    with open(done, "rb") as file:
        reference = ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name("tohost")[0]["st_value"]
    assert program.symbol("tohost") == reference
    assert program.symbol("tohos") is None
    assert program.entry == 0x8000_0000
