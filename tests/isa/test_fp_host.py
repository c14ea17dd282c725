"""Arithmetic on the host's unit: result and flags equal those of softfloat, natively and as plain Python."""

from __future__ import annotations

import ctypes
import io
import random
from array import array
from itertools import product
from typing import Any

import pytest

from popek.isa import d, f, fp, fp_host, zfa
from popek.isa.hart import Hart
from popek.isa.op import declared
from popek.lang.compiler import compile_ir
from popek.lang.llvm import emit
from popek.lang.run import Runner
from tests.isa import fp_native
from tests.isa.ieee import F32, F64, MODES, specials

plain = Runner()


def operands_of(name: str) -> array[int]:
    """Edges in all pairings, and random numbers of which many are close to each other."""
    dice = random.Random(name)
    form = F32 if name.startswith("f32") else F64
    n = fp_native.OPERANDS[name]
    if name[4:] in fp_native.INTEGER:
        return array("Q", (dice.getrandbits(64) >> dice.randrange(64) for _ in range(20_000)))
    edges = specials(form)
    rows: list[tuple[int, ...]] = list(product(edges, repeat=n)) if n < 3 else []
    for _ in range(20_000):
        a, b, c = (dice.choice(edges) if dice.random() < 0.1 else dice.getrandbits(form.width) for _ in range(3))
        if dice.random() < 0.5:  # middling exponents meet, cancel and convert
            a, b, c = (x & ~form.infinity | form.bias + dice.randint(-70, 70) << form.fb for x in (a, b, c))
        rows.append((a, b, c)[:n])
    return array("Q", (x for row in rows for x in row))


@pytest.mark.parametrize("name", fp_native.OPERANDS)
def test_host_equals_softfloat(name: str) -> None:
    operands = operands_of(name)
    n = fp_native.OPERANDS[name]
    for mode in MODES if fp_native.rounds(name) else MODES[:1]:
        host, soft = (fp_native.run(name, kind, operands, mode) for kind in ("host", "soft"))
        if host != soft:
            i = next(i for i, (x, y) in enumerate(zip(host, soft, strict=True)) if x != y) // 2
            row = [hex(x) for x in operands[i * n : i * n + n]]
            got, expected = ([hex(x) for x in results[2 * i : 2 * i + 2]] for results in (host, soft))
            pytest.fail(f"{row} mode {mode}: {got}, not {expected}")
        hart = Hart()
        for i in range(0, len(host) // 2, 211):
            hart.fflags = 0
            arguments = [*operands[i * n : i * n + n], *([mode] if fp_native.rounds(name) else [])]
            assert (plain[getattr(fp, name)](hart, *arguments), hart.fflags) == (host[2 * i], host[2 * i + 1])


@pytest.mark.skipif(not fp_host.features(), reason="softfloat does it all on this machine")
@pytest.mark.parametrize("name", fp_native.OPERANDS)
def test_attempts(name: str) -> None:
    """What does not give up is right; what gives up has raised no flag that the instruction does not raise."""
    operands = operands_of(name)
    for mode in MODES if fp_native.rounds(name) else MODES[:1]:
        soft, tried = (fp_native.run(name, kind, operands, mode) for kind in ("soft", "try"))
        given_up = 0
        for i in range(0, len(soft), 2):
            if tried[i + 1] == 99:
                assert tried[i] & ~soft[i + 1] == 0
                given_up += 1
            else:
                assert tried[i : i + 2] == soft[i : i + 2]
        assert given_up < len(soft) * 0.4 or mode != 0


@pytest.mark.skipif(not fp_host.features(), reason="softfloat does it all on this machine")
def test_lowerings_exist() -> None:
    text = emit(fp_native.LOOPS.values())
    assert "constrained.fadd.f64" in text and "constrained.fdiv.f32" in text
    assert "constrained" not in emit(fp_native.LOOPS.values(), native=False)


def test_flags_gather_and_clear() -> None:
    library = fp_native.library()
    hart = Hart.ctype()()
    at = ctypes.addressof(hart)
    enter, leave = (library.function(x) for x in (fp_native.enter, fp_native.leave))
    enter(at)
    hart.fflags = 8
    leave(at)
    assert hart.fflags == 8
    results = array("Q", bytes(16))
    third = array("Q", [0x3FF << 52, 0x4008 << 48])
    enter(at)
    library.function(fp_native.LOOPS["f64_div", "host"])(at, third.buffer_info()[0], results.buffer_info()[0], 1, 0)
    assert results[1] == 1
    hart.fflags = 8
    leave(at)
    assert hart.fflags == 8  # fflags_read had cleared the unit's


def test_instructions_need_no_constant_pool() -> None:
    """Templates are bare code: a lowering must not leave constants in a section of its own."""
    from elftools.elf.elffile import ELFFile

    memory = ("flw", "fld", "fsw", "fsd")
    meanings: list[Any] = [op.fn for module in (f, d, zfa) for op in declared(module) if op.name not in memory]
    elf = ELFFile(io.BytesIO(compile_ir(emit(meanings, exports=meanings), 2)))
    pools = [s.name for s in elf.iter_sections() if s.name.startswith(".rodata.cst")]
    assert not pools
