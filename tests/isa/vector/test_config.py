"""vset*: against QEMU for all vtypes, and by the rules for vl."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from popek.isa.hart import VILL
from popek.isa.table import assemble
from popek.isa.vector.config import vlmax_of
from tests.isa.vector.machine import SIZE, Here, Machine, elsewhere, there_is_qemu


@pytest.mark.parametrize(("vtype", "vlmax"), [
    (0, 32), (3, 256), (3 << 3, 4), (3 << 3 | 3, 32), (5, 4), (7, 16), (6, 8), (2 << 3 | 7, 4), (1 << 3 | 6, 4),
    (2 << 3 | 6, 0), (1 << 3 | 5, 0), (4, 0), (4 << 3, 0), (3 << 3 | 5, 0), (1 << 8, 0), (VILL, 0), (0xC0, 32),
])  # fmt: skip
def test_vlmax(vtype: int, vlmax: int) -> None:
    assert vlmax_of(vtype) == vlmax


def cases() -> list[Machine]:
    """Each vtype by each instruction that can name it, with several lengths before and wanted."""
    r = random.Random(1)
    found = []
    for vtype in [*range(0x800), VILL, 1 << 62, 1 << 11, (1 << 64) - 1]:
        texts = ["vsetvl x12, x10, x11", "vsetvl zero, zero, x11", "vsetvl x12, zero, x11"]
        if vtype < 0x800:
            texts += [f"vsetvli x12, x10, {vtype}", f"vsetvli zero, zero, {vtype}", f"vsetvli x12, zero, {vtype}"]
        if vtype < 0x400:
            texts.append(f"vsetivli x12, {r.randrange(32)}, {vtype}")
        for text in texts if vtype < 0x100 else r.sample(texts, 2):
            one = Machine()
            one.vtype, one.vl = r.choice(((0, 32), (3, 200), (2 << 3, 5), (VILL, 0)))
            one.x10, one.x11 = r.choice((0, 1, 3, 4, 5, 8, 31, 33, 256, 257, 1 << 40, (1 << 64) - 1)), vtype
            one.word = assemble(text)
            found.append(one)
    return found


@pytest.mark.skipif(not there_is_qemu(), reason="no qemu-riscv64 or no cross compiler")
def test_all_vtypes(tmp_path: Path) -> None:
    here = Here(False)
    given = cases()
    there = elsewhere(b"".join(map(bytes, given)), tmp_path)
    for number, one in enumerate(given):
        ours, theirs = (Machine.from_buffer_copy(data) for data in (
            here.execute(bytes(one)), there[number * SIZE : (number + 1) * SIZE]))  # fmt: skip
        for name in ("trap", "vtype", "vl", "vstart", "x12"):
            assert getattr(ours, name) == getattr(theirs, name), (hex(one.word), one.vl, hex(one.x11), one.x10, name)
