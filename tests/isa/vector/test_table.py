"""Encodings and texts of the vector instructions: decoder against search, text both ways, and against binutils."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popek.isa import table
from popek.isa.op import Op
from popek.isa.v import BLOCK
from popek.isa.vector.layout import SIZE
from popek.isa.vector.table import OPS

AS, OBJDUMP = shutil.which("riscv64-linux-gnu-as"), shutil.which("riscv64-linux-gnu-objdump")


def test_the_block_has_room() -> None:
    assert SIZE <= BLOCK - 24


def test_names_are_unique() -> None:
    assert len({op.name for op in OPS}) == len(OPS)
    assert not {op.name for op in OPS} & set(table.IDS)


@given(st.sampled_from(OPS), st.integers(0, 2**32 - 1), st.integers(0, 2**38))
def test_words_of_every_operation(op: Op, bits: int, pc: int) -> None:
    word = bits & ~op.encoding.mask & 0xFFFF_FFFF | op.encoding.match
    found = table.assembly().find(word)
    assert found is not None
    text = table.disassemble(word, pc)
    again = table.assemble(text, pc)
    assert table.disassemble(again, pc) == text
    assert again == word, text


@pytest.mark.parametrize(("text", "word"), [
    ("vsetvli a0, a1, e32, m1, ta, mu", 0x0505F557), ("vsetivli a0, 3, e8, mf2, tu, ma", 0xC871F557),
    ("vle8.v v1, (a0), v0.t", 0x00050087), ("vluxseg2ei16.v v2, (a0), v4", 0x26455107),
    ("vl2re32.v v4, (a0)", 0x22856207),
])  # fmt: skip
def test_known_words(text: str, word: int) -> None:
    assert table.assemble(text) == word
    assert table.disassemble(word) == text


#: binutils writes aliases of some without being asked.
ALIASES = {"vl1r.v": "vl1re8.v", "vl2r.v": "vl2re8.v", "vl4r.v": "vl4re8.v", "vl8r.v": "vl8re8.v"}


@pytest.mark.skipif(not AS or not OBJDUMP, reason="binutils for riscv64 are not installed")
def test_texts_agree_with_binutils(tmp_path: Path) -> None:
    words = []
    for op in OPS:
        for vm in (1, 0):
            word = op.encoding.match
            for field in op.encoding.fields:
                value = {"vm": vm, "vd": 8, "vs3": 8, "vs2": 16, "vs1": 24, "vtypei": 0xC3}.get(field.name, 5)
                word |= field.insert(value)
            words.append(word)
    source, blob = tmp_path / "words.s", tmp_path / "words.o"
    source.write_text("\n".join(f".4byte {word:#x}" for word in words) + "\n")
    subprocess.run([str(AS), "-march=rv64gcv", "-o", str(blob), str(source)], check=True)
    command = [str(OBJDUMP), "-D", "-j", ".text", "-M", "no-aliases,numeric", str(blob)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen = re.findall(r"^ +[0-9a-f]+:\t[0-9a-f]{8} +\t(\S+)(?:\t([^#\n]*))?", output, re.MULTILINE)
    assert len(seen) == len(words)
    wrong = []
    for word, (name, operands) in zip(words, seen, strict=True):
        ours = table.disassemble(word).replace("t0", "x5").replace("ft5", "f5").replace(" ", "")
        theirs = ALIASES.get(name, name) + operands.strip().replace(" ", "")
        if ours != theirs:
            wrong.append((hex(word), ours, theirs))
    assert wrong == []
