"""The region compiler: what it knows of the instruction set, the regions it forms, and that they do as they should."""

from __future__ import annotations

import random
import re
import time

import pytest

from popek.engine.optimizing import compile, loops, snippets, tables
from popek.engine.optimizing.form import LARGEST, LIMIT, Block, form, turns
from popek.engine.optimizing.image import Page, RegionFlag, Request, unpack
from popek.isa.table import GATES, OPS, Decoded, assemble, decode
from tests.engine import streams
from tests.engine.forced import Regions
from tests.engine.pair import Pair

HOME = 0x8000_0000
EVERYTHING = b"\xff" * 256
SECONDS = 12


@pytest.fixture(scope="module")
def known() -> tables.Tables:
    return tables.load()


def request(*lines: str, entry: int = HOME, bare: bool = True, targets: tuple[int, ...] = ()) -> Request:
    """Code at HOME, all of it translated."""
    code = b"".join(assemble(line, HOME + 4 * i).to_bytes(4, "little") for i, line in enumerate(lines))
    return Request(entry, bare, {HOME: Page(code.ljust(4096, b"\0"), EVERYTHING)}, targets)


def addresses(blocks: list[Block]) -> set[int]:
    return {step.pc for block in blocks for step in block.steps}


def test_decoder_agrees_with_isa(known: tables.Tables) -> None:
    r = random.Random(1)
    words = [op.encoding.match | r.getrandbits(32) & ~op.encoding.mask & 0xFFFFFFFF for op in OPS for _ in range(20)]
    words += range(0, 1 << 16, 3)
    words += [r.getrandbits(32) | 3 for _ in range(5000)]
    d = Decoded()
    for word in words:
        decode(word, d)
        i = known.decode(word)
        if d.op == 0:
            assert i is None, hex(word)
            continue
        assert i is not None, hex(word)
        assert (i.op.name, i.rd, i.rs1, i.rs2, i.rs3, i.rm, i.imm & (1 << 64) - 1, i.length) == (
            (*OPS, *GATES)[d.op - 1].name, d.rd, d.rs1, d.rs2, d.rs3, d.rm, d.imm, d.length), hex(word)  # fmt: skip


def test_every_wanted_operation_has_a_piece(known: tables.Tables) -> None:
    missing = {o.name for o in known.operations if o.piece is None} & {op.name for op in OPS if snippets.wanted(op)}
    assert missing <= {"fcvtmod_w_d"}, missing


def test_pieces_name_only_their_operands(known: tables.Tables) -> None:
    for operation in known.operations:
        operands = {f"${name}$" for name in (*operation.parameters, "host", "result", "bail")}
        for line in operation.piece or ():
            assert set(re.findall(r"\$\w+\$", line)) <= operands, (operation.name, line)


def test_loops_and_calls_are_followed(known: tables.Tables) -> None:
    blocks = form(
        request(
            "addi a0, a0, -1",
            f"jal ra, {HOME + 16:#x}",
            f"bne a0, zero, {HOME:#x}",
            "ecall",
            "addi a1, a1, 1",
            "jalr zero, 0(ra)",
        ),
        known,
    )
    assert addresses(blocks) == set(range(HOME, HOME + 24, 4))
    assert turns(blocks)
    (back,) = [b for b in blocks if b.steps[-1].instruction.op.name == "jalr"]
    assert back.target is not None and blocks[back.target].steps[0].pc == HOME + 8


def test_a_function_called_twice_returns_to_two_places(known: tables.Tables) -> None:
    code = (f"jal ra, {HOME + 16:#x}", f"jal ra, {HOME + 16:#x}", f"jal zero, {HOME:#x}", "ecall", "jalr zero, 0(ra)")
    blocks = form(request(*code), known)
    returns = [b for b in blocks if b.target is not None and b.steps[-1].pc == HOME + 16]
    assert len(returns) == 2 and len({b.target for b in returns}) == 2


def test_what_was_never_translated_is_not_followed(known: tables.Tables) -> None:
    whole = request(f"bne a0, a1, {HOME + 12:#x}", "addi a0, a0, 1", f"jal zero, {HOME:#x}", "addi a2, a2, 1", "ecall")
    seen = bytearray(EVERYTHING)
    seen[0] &= ~(1 << 6)
    blocks = form(Request(HOME, True, {HOME: Page(whole.pages[HOME].data, bytes(seen))}), known)
    assert HOME + 12 not in addresses(blocks) and HOME + 8 in addresses(blocks)


def test_short_code_without_a_loop_is_not_worth_it(known: tables.Tables) -> None:
    assert form(request("addi a0, a0, 1", "jalr zero, 0(ra)"), known) == []


def test_a_region_stays_small(known: tables.Tables) -> None:
    loop = (*["addi a0, a0, 1"] * 20, f"bne a0, a1, {HOME:#x}")
    assert len(addresses(form(request(*loop, *["addi a0, a0, 1"] * 900), known))) == LIMIT


def test_a_large_loop_is_taken_whole_or_cut_off(known: tables.Tables) -> None:
    def loop(size: int) -> list[Block]:
        return form(request(*["addi a0, a0, 1"] * (size - 1), f"jal zero, {HOME:#x}"), known)

    assert len(addresses(loop(LARGEST - 50))) == LARGEST - 50
    assert len(addresses(loop(LARGEST + 50))) == LIMIT


def test_jumps_through_a_table_lead_where_jumps_led(known: tables.Tables) -> None:
    code = ("ld a5, 0(a4)", "jalr zero, 0(a5)", "addi a0, a0, 1", f"jal zero, {HOME:#x}", f"jal zero, {HOME:#x}")
    blocks = form(request(*code, targets=(HOME + 8, HOME + 16)), known)
    (jump,) = [b for b in blocks if b.steps[-1].instruction.op.name == "jalr"]
    assert {pc for pc, _ in jump.cases} == {HOME + 8, HOME + 16}


def test_dominators_and_loops() -> None:
    blocks = [Block(n) for n in range(5)]
    for one, other in ((0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (4, 1)):
        blocks[other].before.append(one)
        if blocks[one].following is None:
            blocks[one].following = other
        else:
            blocks[one].target = other
    assert loops.dominators(blocks) == [0, 0, 1, 1, 1]
    found = loops.loops(blocks, loops.dominators(blocks))
    assert found[1].body == {1, 2, 3, 4} and found[1].latches == (4,)


def test_image() -> None:
    code = ("lbu a1, 0(a0)", "sb a1, 64(a0)", "addi a0, a0, 1", f"bne a0, a2, {HOME + 4:#x}", f"jal zero, {HOME:#x}")
    wanted = request(*code, entry=HOME)
    image = compile.compile_region(wanted)
    assert image is not None
    region = unpack(image)
    assert region.entry == 0 and region.flags == RegionFlag.BARE and region.instructions == 5
    assert [(s.page, s.first, s.data) for s in region.spans] == [(0, 0, wanted.pages[HOME].data[:20])]
    assert all(r.offset + 4 <= len(region.code) for r in region.relocations)


def test_streams_run_the_same_in_regions() -> None:
    regions = Regions(Pair())
    end = time.monotonic() + SECONDS
    for count, seed in enumerate(range(5000, 5300)):
        if count >= 30 and time.monotonic() > end:
            break
        found = regions.check(streams.stream(seed))
        assert not found, f"seed {seed}: {found[:10]}"
    assert regions.installed > 10
