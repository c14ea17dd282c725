"""SC fails if an SC or AMO of another hart came between, even one that put the loaded value back (ABA).

POPEK_PARALLEL_ROUNDS sets how often each hart works on the stack.
"""

from __future__ import annotations

import os

import pytest

from tests.parallel.harness import after

ROUNDS = int(os.environ.get("POPEK_PARALLEL_ROUNDS", "400"))
ENGINES = ("template", "optimizing", "step")
PLACE, FLAG, RESULT, MEETING = 0x8100_0000, 0x8100_1000, 0x8100_2000, 0x8080_0000

#: How the second hart takes 5 (the register a5) away from (s0), and brings it back.
AWAY = {
    "amoswap.d": "amoswap.d x0, a6, (s0)\namoswap.d x0, a5, (s0)",
    "amomax.w": "amomax.w x0, a6, (s0)\namomin.w x0, a5, (s0)",
    "sc.d": "lr.d t0, (s0)\nsc.d t0, a6, (s0)\nlr.d t0, (s0)\nsc.d t0, a5, (s0)",
    "sc.w, plain": "lr.w t0, (s0)\nsc.w t0, a6, (s0)\nsw a5, 0(s0)",
    "plain, amoadd.w": "sw a6, 0(s0)\naddi t0, x0, -4\namoadd.w x0, t0, (s0)",
    "neighbour": "amoswap.w x0, a6, (s6)",  # no store to what was reserved: SC may fail as well, but does not
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", AWAY)
@pytest.mark.parametrize("size", ["w", "d"])
def test_a_value_that_went_and_came_back_makes_sc_fail(tmp_path, size, how, engine):
    text = f"""
        csrrs s11, mhartid, x0
        li s0, {PLACE:#x}
        li s1, {FLAG:#x}
        li s2, {RESULT:#x}
        addi s6, s0, 64
        addi s8, x0, 1
        addi a5, x0, 5
        addi a6, x0, 9
        addi s3, x0, 3
        bne s11, x0, other
    round:
        sd a5, 0(s0)
        lr.{size} t0, (s0)
        amoadd.w x0, s8, (s1)
    wait:
        lw t1, 4(s1)
        lw t2, 0(s1)
        bne t1, t2, wait
        sc.{size} t3, a6, (s0)
        sd t3, 0(s2)
        addi s2, s2, 8
        addi s3, s3, -1
        bne s3, x0, round
        j off
    other:
        addi s7, s1, 4
    again:
        lw t1, 4(s1)
        lw t2, 0(s1)
        beq t1, t2, again
        {AWAY[how]}
        amoadd.w x0, s8, (s7)
        addi s3, s3, -1
        bne s3, x0, again
    park:
        wfi
        j park
    """
    found = after(tmp_path, text, 2, engine, [(RESULT, 24)])
    assert found is not None, "the harts hung"
    assert found[0] == (0 if how == "neighbour" else 1).to_bytes(8, "little") * 3


@pytest.mark.parametrize("engine", ENGINES)
def test_no_node_of_a_stack_is_lost(tmp_path, engine):
    """Pop two, push them the other way round: what a compare-and-swap without tags gets wrong. Each node has a counter
    of its owners, and is taken by one at a time.
    """
    harts, nodes = 4, 6
    pop = """
    {name}:
        lr.d {into}, (s0)
        beq {into}, x0, {name}
        ld t1, 0({into})
        srli t2, s3, 1
        andi t2, t2, 31
    {name}delay:
        addi t2, t2, -1
        bge t2, x0, {name}delay
        sc.d t2, t1, (s0)
        bne t2, x0, {name}
        addi t3, {into}, 8
        amoadd.d t4, s8, (t3)
        or s10, s10, t4
    """
    push = """
        addi t3, {node}, 8
        amoadd.d x0, s7, (t3)
    {name}:
        lr.d t1, (s0)
        sd t1, 0({node})
        sc.d t2, {node}, (s0)
        bne t2, x0, {name}
    """
    text = f"""
        csrrs s11, mhartid, x0
        li s0, {PLACE:#x}
        li s2, {RESULT:#x}
        li s3, {ROUNDS}
        li s4, {MEETING:#x}
        addi s7, x0, -1
        addi s8, x0, 1
        addi s9, x0, {harts}
        addi s10, x0, 0
        bne s11, x0, ready
        addi t0, s0, 0
        addi t1, x0, {nodes}
    build:
        addi t2, t0, 64
        sd t2, 0(t0)
        addi t0, t2, 0
        addi t1, t1, -1
        bne t1, x0, build
        sd x0, 0(t0)
    ready:
        amoadd.w.aqrl x0, s8, (s4)
    meet:
        lw t0, 0(s4)
        blt t0, s9, meet
    round:
        {pop.format(name="one", into="a0")}
        {pop.format(name="two", into="a1")}
        {push.format(name="back", node="a0")}
        {push.format(name="behind", node="a1")}
        addi s3, s3, -1
        bne s3, x0, round
        amoor.d x0, s10, (s2)
        amoadd.w.aqrl x0, s8, (s4)
        add s9, s9, s9
        bne s11, x0, park
    last:
        lw t0, 0(s4)
        blt t0, s9, last
        j off
    park:
        wfi
        j park
    """
    found = after(tmp_path, text, harts, engine, [(PLACE, 64 * (nodes + 1)), (RESULT, 8)])
    assert found is not None, "the harts hung, or the stack is empty"
    memory = [int.from_bytes(found[0][i : i + 8], "little") for i in range(0, len(found[0]), 8)]
    assert found[1] == bytes(8), "a node had two owners"
    at, seen = memory[0], []
    while at and len(seen) <= nodes:
        seen.append(at)
        at = memory[(at - PLACE) // 8]
    assert sorted(seen) == [PLACE + 64 * n for n in range(1, nodes + 1)]
    assert not any(memory[8 * n + 1] for n in range(1, nodes + 1))
