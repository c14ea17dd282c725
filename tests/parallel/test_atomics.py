"""Four harts on the same words: no update may be lost. POPEK_PARALLEL_ROUNDS sets how many each hart does."""

from __future__ import annotations

import os

import pytest

from tests.parallel.harness import after

ROUNDS = int(os.environ.get("POPEK_PARALLEL_ROUNDS", "400"))
HARTS = 4
PLACE, MEETING = 0x8100_0000, 0x8080_0000

#: What a hart does in a round to the words at s0 (each on a line of its own); t registers are free, s8 is 1.
WORK = {
    "amoadd.d": "amoadd.d x0, s8, (s0)",
    "amoadd.w": "amoadd.w t0, s8, (s0)",
    "lr/sc.d": "again:\nlr.d t0, (s0)\nadd t0, t0, s8\nsc.d t1, t0, (s0)\nbne t1, x0, again",
    "lr/sc.w": "again:\nlr.w.aq t0, (s0)\naddw t0, t0, s8\nsc.w.rl t1, t0, (s0)\nbne t1, x0, again",
    "spin lock": """
        addi s6, s0, 64
    again:
        amoswap.w.aq t0, s8, (s6)
        bne t0, x0, again
        ld t1, 0(s0)
        add t1, t1, s8
        sd t1, 0(s0)
        amoswap.w.rl x0, x0, (s6)""",
    "lr/sc lock and fences": """
        addi s6, s0, 64
    again:
        lr.w t0, (s6)
        bne t0, x0, again
        sc.w t0, s8, (s6)
        bne t0, x0, again
        fence
        ld t1, 0(s0)
        add t1, t1, s8
        sd t1, 0(s0)
        fence
        sw x0, 0(s6)""",
    "ticket lock": """
        addi s6, s0, 64
        addi s7, s0, 128
        amoadd.w.aqrl t2, s8, (s6)
    again:
        lw t0, 0(s7)
        bne t0, t2, again
        fence
        ld t1, 0(s0)
        add t1, t1, s8
        sd t1, 0(s0)
        fence
        addi t2, t2, 1
        sw t2, 0(s7)""",
}


@pytest.mark.parametrize("engine", ["template", "optimizing", "step"])
@pytest.mark.parametrize("work", WORK)
def test_no_update_is_lost(tmp_path, work, engine):
    rounds = ROUNDS // 8 if work == "ticket lock" else ROUNDS  # on fewer processors than harts it waits for its turn
    text = f"""
        csrrs s11, mhartid, x0
        li s0, {PLACE:#x}
        li s3, {rounds}
        li s4, {MEETING:#x}
        addi s8, x0, 1
        addi s9, x0, {HARTS}
        amoadd.w.aqrl x0, s8, (s4)
    meet:
        lw t0, 0(s4)
        blt t0, s9, meet
    round:
        {WORK[work]}
        addi s3, s3, -1
        bne s3, x0, round
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
    found = after(tmp_path, text, HARTS, engine, [(PLACE, 8)])
    assert found is not None, "the harts hung"
    assert int.from_bytes(found[0], "little") == HARTS * rounds
