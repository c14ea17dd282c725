"""The decoder against the plain search over all encodings, and the assembler against the disassembler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popek.isa import table
from popek.isa.op import KINDS, Op
from popek.lang.run import Runner

decode = Runner()[table.decode]
OBJDUMP = shutil.which("riscv64-linux-gnu-objdump")


def decoded(word: int) -> table.Decoded:
    d = table.Decoded()
    decode(word, d)
    return d


def check(word: int) -> None:
    """The generated tree and the linear search agree on operation and operands."""
    d, row = decoded(word), table.assembly().find(word)
    assert d.length == (4 if word & 3 == 3 else 2)
    if d.op > len(table.OPS):
        assert row is None or (isinstance(row, Op) and row.kind == "vector")
        assert d.imm | table.GATES[d.op - len(table.OPS) - 1].encoding.match == word
        return
    if row is None:
        assert d.op == 0
        return
    op = row if isinstance(row, Op) else row.of
    assert table.OPS[d.op - 1] is op, hex(word)
    assert KINDS[d.flags] == op.kind
    pairs = [(f.name, f.name) for f in row.encoding.fields] if isinstance(row, Op) else row.operands
    for name, source in pairs:
        slot = "imm" if name in ("imm", "uimm") else name.removeprefix("f")
        if slot in ("aq", "rl"):
            continue
        field = row.encoding.field(source) if isinstance(source, str) else None
        value = field.extract(word) if field else source
        assert getattr(d, slot) == value & 0xFFFF_FFFF_FFFF_FFFF if isinstance(value, int) else False, (hex(word), name)


def test_names_are_unique() -> None:
    assert len(table.IDS) == len(table.OPS) + len(table.GATES)


def test_every_operation_is_found_by_the_decoder() -> None:
    for number, op in enumerate(table.OPS, 1):
        word = op.encoding.match
        for field in op.encoding.fields:
            if field.name in ("rs1", "rs2", "rd"):
                word |= field.insert(5)
            elif field.name == "uimm" and op.kind == "csr" and field.top == 17:
                word |= field.insert(3 << 12)
        assert decoded(word).op == number, op.name


def test_all_16_bit_words() -> None:
    for word in range(1 << 16):
        if word & 3 != 3:
            check(word)


@given(st.integers(0, 2**30 - 1))
def test_any_32_bit_word(bits: int) -> None:
    check(bits << 2 | 3)


@given(st.sampled_from(table.OPS), st.integers(0, 2**32 - 1))
def test_words_of_every_operation(op: Op, bits: int) -> None:
    check(bits & ~op.encoding.mask & 0xFFFF_FFFF | op.encoding.match)


@given(st.sampled_from([*table.OPS, *table.FORMS]), st.integers(0, 2**32 - 1), st.integers(0, 2**38))
def test_disassembly_assembles_to_an_equal_instruction(row, bits: int, pc: int) -> None:  # type: ignore[no-untyped-def]
    pc *= 2
    mask = row.encoding.mask
    word = bits & (0xFFFF_FFFF if row.encoding.length == 4 else 0xFFFF) & ~mask | row.encoding.match
    if (found := table.assembly().find(word)) is None:
        return
    rounding = found.encoding.field("rm")
    if (rounding and rounding.extract(word) in (5, 6)) or found.mnemonic == "fence":     # its sets are not in the text
        return
    text = table.disassemble(word, pc)
    again = table.assemble(text, pc)
    assert table.disassemble(again, pc) == text
    a, b = decoded(word), decoded(again)
    assert [getattr(a, f) for f in table.Decoded.fields] == [getattr(b, f) for f in table.Decoded.fields]


@pytest.mark.parametrize(("text", "word"), [
    ("add a0, a1, a2", 0x00C58533), ("lui t0, 0x80000", 0x800002B7), ("ld a0, -8(sp)", 0xFF813503),
    ("beq a0, zero, 0x1000", 0x00050063),
    ("csrrwi a0, mstatus, 8", 0x30045573), ("c.addi4spn a0, 16", 0x0808),
    ("amoadd.w.aqrl a0, a1, (a2)", 0x06B6252F), ("sfence.vma", 0x12000073), ("pause", 0x0100000F),
    ("czero.eqz a0, a1, a2", 0x0EC5D533), ("czero.nez a0, a1, a2", 0x0EC5F533), ("wrs.nto", 0x00D00073),
    ("wrs.sto", 0x01D00073), ("clmul a0, a1, a2", 0x0AC59533), ("clmulr a0, a1, a2", 0x0AC5A533),
    ("clmulh a0, a1, a2", 0x0AC5B533),
])  # fmt: skip
def test_known_words(text: str, word: int) -> None:
    assert table.assemble(text, 0x1000) == word
    assert table.disassemble(word, 0x1000) == text


def test_targets_wrap() -> None:
    text = "jal zero, 0xfffffffffff00000"
    assert table.disassemble(table.assemble(text, 0), 0) == text
    with pytest.raises(ValueError, match="does not fit"):
        table.assemble("jal zero, 0x100000", 0)


@pytest.mark.parametrize("text", [
    "frobnicate a0", "add a0, a1", "lw a0, 4096(a1)", "add.aq a0, a1, a2", "beq a0, a1, 3", "csrw nothere, a0",
    "c.lwsp zero, 0(sp)", "c.mv a0, zero", "csrwi mstatus, 32",
])  # fmt: skip
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        table.assemble(text)


def test_illegal_words_have_a_text() -> None:
    assert table.disassemble(0) == ".half 0x0000"
    assert table.disassemble(0xFFFF_FFFF) == ".word 0xffffffff"


@pytest.mark.skipif(not OBJDUMP, reason="riscv64-linux-gnu-objdump is not installed")
def test_mnemonics_agree_with_binutils(tmp_path: Path) -> None:
    """A second opinion on every operation's encoding; aliases off, names of our own pseudo-rows mapped."""
    words = {}
    for op in table.OPS:
        word = op.encoding.match
        for field in op.encoding.fields:
            if field.name in ("rs1", "rs2", "rs3", "rd", "frd", "frs1", "frs2", "frs3"):
                word |= field.insert(9)
            elif field.name == "rm":
                word |= field.insert(7)
            elif op.kind == "csr":
                word |= field.insert(0x300 | (3 << 12 if field.top == 17 else 0))
        words[op] = word
    blob = tmp_path / "words"
    blob.write_bytes(b"".join(word.to_bytes(4, "little") for word in words.values()))
    command = [OBJDUMP, "-D", "-b", "binary", "-m", "riscv:rv64", "-M", "no-aliases", str(blob)]
    output = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout
    seen = re.findall(r"^ +[0-9a-f]+:\t[0-9a-f]{8} +\t(\S+)", output, re.MULTILINE)
    assert len(seen) == len(words)
    ours = {"csrw": "csrrw", "csrr": "csrrs", "csrwi": "csrrwi"}
    unknown = [op.name for op, name in zip(words, seen, strict=True)
               if name != ours.get(op.mnemonic, op.mnemonic) and not name.startswith(("0x", ".", "fence"))]
    assert unknown == []
