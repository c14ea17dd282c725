"""The model of the memory model gives the verdicts that are known, and no engine shows what it forbids.

Verdicts: Unprivileged ISA, "RVWMO Explanatory Material", and what follows from the rules. A is allowed, F forbidden.
POPEK_LITMUS_ROUNDS sets how often each runs; tools/litmus.py runs whole folders of tests.
"""

from __future__ import annotations

import os

import pytest

from tests.parallel import crew, herd, rvwmo

ROUNDS = int(os.environ.get("POPEK_LITMUS_ROUNDS", "200"))
ENGINES = ("template", "optimizing", "step")

X, Y, Z, ZERO = 6, 7, 8, "xor x9,x5,x5"
START = "".join(f"{t}:x{r}={v}; " for t in range(4) for r, v in ((X, "x"), (Y, "y"), (Z, "z"), (10, 1), (11, 2)))
WX, WY, WX2, WY2 = "sw x10,0(x6)", "sw x10,0(x7)", "sw x11,0(x6)", "sw x11,0(x7)"
RX, RY, THEN_X, THEN_Y = "lw x5,0(x6)", "lw x5,0(x7)", "lw x12,0(x6)", "lw x12,0(x7)"
FENCE, WW, RR, TSO = "fence rw,rw", "fence w,w", "fence r,r", "fence.tso"
ADDRESS = (ZERO, "add x9,x9,x6", "lw x12,0(x9)")
DATA_X = (ZERO, "addi x9,x9,1", "sw x9,0(x6)")
BOTH = r"1:x5=1 /\ 1:x12=0"

#: Name, verdict, condition, threads.
CLASSICS = (
    ("SB", "A", r"0:x5=0 /\ 1:x5=0", (WX, RY), (WY, RX)),
    ("SB+fences", "F", r"0:x5=0 /\ 1:x5=0", (WX, FENCE, RY), (WY, FENCE, RX)),
    ("SB+tso", "A", r"0:x5=0 /\ 1:x5=0", (WX, TSO, RY), (WY, TSO, RX)),
    ("SB+amos", "F", r"0:x5=0 /\ 1:x5=0", ("amoswap.w.aq.rl x0,x10,(x6)", "lr.w.aq.rl x5,(x7)"),
     ("amoswap.w.aq.rl x0,x10,(x7)", "lr.w.aq.rl x5,(x6)")),
    ("SB+rl+aq", "F", r"0:x5=0 /\ 1:x5=0", ("amoswap.w.rl x0,x10,(x6)", "lr.w.aq x5,(x7)"),
     ("amoswap.w.rl x0,x10,(x7)", "lr.w.aq x5,(x6)")),
    ("SB+forwarding", "A", r"0:x12=0 /\ 1:x12=0", (WX, RX, ZERO, "add x9,x9,x7", "lw x12,0(x9)"),
     (WY, RY, ZERO, "add x9,x9,x6", "lw x12,0(x9)")),
    ("MP", "A", BOTH, (WX, WY), (RY, THEN_X)),
    ("MP+w.w+r.r", "F", BOTH, (WX, WW, WY), (RY, RR, THEN_X)),
    ("MP+w.w+address", "F", BOTH, (WX, WW, WY), (RY, *ADDRESS)),
    ("MP+w.w+control", "A", BOTH, (WX, WW, WY), (RY, "bne x5,x0,L", "L:", THEN_X)),
    ("MP+rl+aq", "F", BOTH, (WX, "amoswap.w.rl x0,x10,(x7)"), ("lr.w.aq x5,(x7)", THEN_X)),
    ("MP+tso+tso", "F", BOTH, (WX, TSO, WY), (RY, TSO, THEN_X)),
    ("LB", "A", r"0:x5=1 /\ 1:x5=1", (RX, WY), (RY, WX)),
    ("LB+fences", "F", r"0:x5=1 /\ 1:x5=1", (RX, FENCE, WY), (RY, FENCE, WX)),
    ("LB+datas", "F", r"0:x5=1 /\ 1:x5=1", (RX, ZERO, "addi x9,x9,1", "sw x9,0(x7)"), (RY, *DATA_X)),
    ("LB+controls", "F", r"0:x5=1 /\ 1:x5=1", (RX, "bne x5,x0,L", "L:", WY), (RY, "bne x5,x0,M", "M:", WX)),
    ("LB+address-po", "F", r"0:x5=1 /\ 1:x5=1", (RX, ZERO, "add x9,x9,x8", "lw x12,0(x9)", WY), (RY, FENCE, WX)),
    ("S+w.w+data", "F", r"1:x5=1 /\ x=2", (WX2, WW, WY), (RY, *DATA_X)),
    ("R+fences", "F", r"y=2 /\ 1:x5=0", (WX, FENCE, WY), (WY2, FENCE, RX)),
    ("R+w.w+fence", "A", r"y=2 /\ 1:x5=0", (WX, WW, WY), (WY2, TSO, RX)),
    ("2+2W", "A", r"x=2 /\ y=2", (WX2, WY), (WY2, WX)),
    ("2+2W+w.w", "F", r"x=2 /\ y=2", (WX2, WW, WY), (WY2, WW, WX)),
    ("WRC", "A", r"1:x5=1 /\ 2:x5=1 /\ 2:x12=0", (WX,), (RX, WY), (RY, THEN_X)),
    ("WRC+addresses", "F", r"1:x5=1 /\ 2:x5=1 /\ 2:x12=0", (WX,), (RX, ZERO, "add x9,x9,x7", "sw x10,0(x9)"),
     (RY, *ADDRESS)),
    ("ISA2", "F", r"1:x5=1 /\ 2:x5=1 /\ 2:x12=0", (WX, WW, WY), (RY, ZERO, "addi x9,x9,1", "sw x9,0(x8)"),
     ("lw x5,0(x8)", *ADDRESS)),
    ("RWC+fences", "F", r"1:x5=1 /\ 1:x12=0 /\ 2:x5=0", (WX,), (RX, FENCE, THEN_Y), (WY, FENCE, RX)),
    ("IRIW", "A", r"2:x5=1 /\ 2:x12=0 /\ 3:x5=1 /\ 3:x12=0", (WX,), (WY,), (RX, THEN_Y), (RY, THEN_X)),
    ("IRIW+r.r", "F", r"2:x5=1 /\ 2:x12=0 /\ 3:x5=1 /\ 3:x12=0", (WX,), (WY,), (RX, RR, THEN_Y), (RY, RR, THEN_X)),
    ("PPOCA", "A", BOTH, (WX, WW, WY), (RY, "bne x5,x0,L", "L:", "sw x10,0(x8)", "lw x13,0(x8)", "xor x9,x13,x13",
                                        "add x9,x9,x6", "lw x12,0(x9)")),
    ("PPOAA", "F", BOTH, (WX, WW, WY), (RY, ZERO, "add x9,x9,x8", "sw x10,0(x9)", "lw x13,0(x8)", "xor x9,x13,x13",
                                        "add x9,x9,x6", "lw x12,0(x9)")),
    ("RSW", "A", BOTH, (WX, FENCE, WY), (RY, ZERO, "add x9,x9,x8", "lw x13,0(x9)", "lw x14,0(x8)", "xor x9,x14,x14",
                                         "add x9,x9,x6", "lw x12,0(x9)")),
    ("RDW", "F", r"1:x5=1 /\ 1:x13=0 /\ 1:x14=1 /\ 1:x12=0", (WX, FENCE, WY),
     (RY, ZERO, "add x9,x9,x8", "lw x13,0(x9)", "lw x14,0(x8)", "xor x9,x14,x14", "add x9,x9,x6", "lw x12,0(x9)"),
     ("sw x10,0(x8)",)),
    ("CoRR", "F", r"1:x5=1 /\ 1:x12=0", (WX,), (RX, THEN_X)),
    ("CoRW", "F", r"0:x5=2 /\ x=2", (RX, WX), (WX2,)),
    ("AMO then load", "F", r"0:x12=0 /\ 1:x5=1 /\ 1:x12=0", ("amoadd.w x5,x10,(x7)", "lw x13,0(x7)", "xor x9,x13,x13",
     "add x9,x9,x6", "lw x12,0(x9)"), (FENCE, "lw x5,0(x6)", RR, THEN_Y)),
    ("counter", "F", r"x=1", ("amoadd.w x5,x10,(x6)",), ("amoadd.w x5,x10,(x6)",)),
    ("LR/SC", "F", r"0:x5=0 /\ 0:x13=0 /\ 1:x5=0 /\ 1:x13=0", ("lr.w x5,(x6)", "sc.w x13,x10,(x6)"),
     ("lr.w x5,(x6)", "sc.w x13,x10,(x6)")),
    ("LR/SC and a store", "F", r"0:x5=0 /\ 0:x13=0 /\ x=1", ("lr.w x5,(x6)", "sc.w x13,x10,(x6)"), (WX2,)),
    ("LR/SC and ABA", "F", r"0:x5=0 /\ 1:x5=1 /\ 0:x12=1 /\ 0:x13=0", ("lr.w x5,(x6)", FENCE, "sw x10,0(x8)", FENCE,
     "lw x12,0(x7)", FENCE, "sc.w x13,x10,(x6)"), ("lw x5,0(x8)", FENCE, "amoswap.w x0,x11,(x6)",
     "amoswap.w x0,x0,(x6)", FENCE, WY)),
)  # fmt: skip


def written(name: str, condition: str, *threads: tuple[str, ...]) -> herd.Litmus:
    """A classic as a test."""
    rows = [" | ".join(f"P{n}" for n in range(len(threads)))]
    for n in range(max(map(len, threads))):
        rows.append(" | ".join(thread[n] if n < len(thread) else "" for thread in threads))
    start = "".join(part + ";" for part in START.split(";")[:-1] if int(part.strip()[0]) < len(threads))
    return herd.parse(f"RISCV {name}\n{{ {start} }}\n" + " ;\n".join(rows) + f" ;\nexists ({condition})\n")


TESTS = {name: written(name, condition, *threads) for name, _, condition, *threads in CLASSICS}


@pytest.mark.parametrize(("name", "verdict"), [(name, verdict) for name, verdict, *_ in CLASSICS])
def test_verdicts(name, verdict):
    test = TESTS[name]
    found = rvwmo.outcomes(test)
    assert ("A" if any(rvwmo.holds(test, outcome) for outcome in found) else "F") == verdict
    assert all(rvwmo.allowed(test, outcome) for outcome in found)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines(tmp_path, engine):
    seen = 0
    for batch in crew.batches(list(TESTS.values()), ROUNDS):
        found = crew.run(tmp_path, batch, engine)
        assert found is not None, "the harts hung"
        for placed, outcomes in zip(batch, found, strict=True):
            assert outcomes.total() == ROUNDS
            wrong = [outcome for outcome in outcomes if not rvwmo.allowed(placed.test, outcome)]
            assert not wrong, f"{placed.test.name}: {wrong}"
            seen += len(outcomes)
    assert seen > 2 * len(TESTS)
