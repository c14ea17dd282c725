"""What is reserved or not allowed is an illegal instruction, and then nothing has happened."""

from __future__ import annotations

from itertools import product

import pytest

from popek.isa.hart import FS, ILLEGAL_INSTRUCTION, VILL, Hart
from popek.isa.vector import groups, table
from popek.isa.vector.layout import VLEN_BYTES
from popek.lang import Trap
from tests.isa.vector.machine import Here, Machine

WORDS = {op.mnemonic: op.encoding.match for op in table.OPS}
VD, VS2, VS1, UNMASKED = 7, 20, 15, 1 << 25


@pytest.fixture(scope="module")
def here() -> Here:
    return Here(False)


def word(mnemonic: str, vd: int = 8, vs2: int = 16, vs1: int = 24, vm: int = 1) -> int:
    return WORDS[mnemonic] | vd << VD | vs2 << VS2 | vs1 << VS1 | vm << 25


def vtype(bits: int, lmul: int = 0) -> int:
    return bits.bit_length() - 4 << 3 | lmul & 7


def is_illegal(here: Here, word: int, vtype: int, vl: int = 2, vstart: int = 0, fcsr: int = 0) -> bool:
    """Is it? And if so, has nothing happened?"""
    one = Machine(word=word, vtype=vtype, vl=vl, vstart=vstart, fcsr=fcsr)
    one.v[:] = [n * 7 & 0xFF for n in range(1024)]
    after = Machine.from_buffer_copy(here.execute(bytes(one)))
    if after.trap:
        assert here.hart.mstatus == FS and here.hart.trap_cause == ILLEGAL_INSTRUCTION
        after.trap = 0
        assert bytes(after) == bytes(one)
        return True
    assert after.vstart == 0
    return False


@pytest.mark.parametrize("destination_log, source_log", [*product(range(-1, 4), range(-1, 4))])
def test_overlap(destination_log: int, source_log: int) -> None:
    """Against the rules in "Vector Operands", with groups as sets of registers."""
    h = Hart()
    count, of = 1 << max(destination_log, 0), 1 << max(source_log, 0)
    for vd, vs in product(range(0, 32, count), range(0, 32, of)):
        to, source = set(range(vd, vd + count)), set(range(vs, vs + of))
        overlap = bool(to & source)
        for rule, legal in (
            (groups.apart, not overlap),
            (groups.narrower, not overlap or min(to) == min(source)),
            (groups.wider, not overlap or (max(to) == max(source) and source_log >= 0)),
        ):
            try:
                rule(h, vd, destination_log, vs, source_log)
                assert legal, (rule, vd, vs)
            except Trap:
                assert not legal, (rule, vd, vs)


def test_alignment() -> None:
    h = Hart()
    h.vector = 4096
    for number, log in product(range(32), range(-4, 5)):
        if -3 <= log <= 3 and number % (1 << max(log, 0)) == 0:
            assert groups.register(h, number, log) == 4096 + number * VLEN_BYTES
        else:
            with pytest.raises(Trap):
                groups.register(h, number, log)


def test_an_illegal_type_is_illegal(here: Here) -> None:
    for op in table.ARITHMETIC:
        whole = op.mnemonic.startswith("vmv") and op.mnemonic.endswith("r.v")
        if not op.mnemonic.startswith("vset") and not whole:
            assert is_illegal(here, op.encoding.match | UNMASKED, VILL, 0), op.mnemonic
    assert not is_illegal(here, word("vmv1r.v", 3, 4, 0), VILL, 0)


def test_masked_instructions_do_not_write_the_mask(here: Here) -> None:
    assert is_illegal(here, word("vadd.vv", vd=0, vm=0), vtype(32))
    assert not is_illegal(here, word("vadd.vv", vd=0, vm=1), vtype(32))
    assert not is_illegal(here, word("vmseq.vv", vd=0, vm=0), vtype(32))
    assert not is_illegal(here, word("vredsum.vs", vd=0, vm=0), vtype(32))


def test_widths(here: Here) -> None:
    assert is_illegal(here, word("vwadd.vv"), vtype(64))
    assert is_illegal(here, word("vwadd.vv"), vtype(8, 3))
    assert not is_illegal(here, word("vwadd.vv"), vtype(8, 2))
    assert is_illegal(here, word("vnsrl.wv"), vtype(64))
    for bits in (8, 16):
        assert is_illegal(here, word("vfadd.vv"), vtype(bits))
        assert is_illegal(here, word("vfmv.f.s", 12, 8, 0), vtype(bits))
    assert not is_illegal(here, word("vfncvt.x.f.w", vs1=0b10001), vtype(16))
    assert is_illegal(here, word("vfncvt.x.f.w", vs1=0b10001), vtype(8))


def test_rounding_mode(here: Here) -> None:
    """A reserved frm, even where nothing is rounded ("Vector Floating-Point Instructions")."""
    for mnemonic in ("vfadd.vv", "vfsgnj.vv", "vmfeq.vv", "vfmv.f.s"):
        assert is_illegal(here, word(mnemonic, vs1=0), vtype(32), fcsr=5 << 5), mnemonic
    assert not is_illegal(here, word("vadd.vv"), vtype(32), fcsr=5 << 5)


def test_floating_point_off(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    h = here.hart
    h.vector, h.vtype, h.vl, h.mstatus = 1, vtype(32), 1, 0
    for mnemonic in ("vfadd.vv", "vfmv.f.s", "vfmv.v.f", "vfslide1up.vf", "vfredosum.vs", "vfcvt.x.f.v"):
        with pytest.raises(Trap):
            table.execute(h, WORDS[mnemonic] | UNMASKED)


def test_what_starts_at_the_beginning(here: Here) -> None:
    for mnemonic in ("vredsum.vs", "vcompress.vm"):
        assert is_illegal(here, word(mnemonic), vtype(32), vl=4, vstart=1), mnemonic
        assert not is_illegal(here, word(mnemonic), vtype(32), vl=4), mnemonic
    for mnemonic in ("vcpop.m", "vfirst.m", "vmsbf.m", "vmsif.m", "vmsof.m", "viota.m"):
        assert is_illegal(here, word(mnemonic, vs1=0), vtype(32), vl=4, vstart=1), mnemonic
    assert not is_illegal(here, word("vadd.vv"), vtype(32), vl=4, vstart=1)
