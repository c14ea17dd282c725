"""Litmus tests: small programs on several harts, and the outcomes that RVWMO forbids. No assertions here.

A body is one hart's part of a test: `x` and `y` are (s0) and (s1), of which every round has its own; a0 and a1 are what
it reads. Forbidden is said of the values read, hart by hart (r[0] and r[1] are the first hart's a0 and a1), and of what
x and y hold in the end. Chapter references are to "RVWMO Memory Consistency Model" of the unprivileged specification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Shape(NamedTuple):
    """One test; `forbidden(r, x, y)` is none of the outcomes that may be; it may be absent: everything is allowed."""

    name: str
    bodies: tuple[str, ...]
    forbidden: Callable[[Sequence[int], int, int], bool]


def store(place: str, value: int) -> str:
    """A plain store of a word."""
    return f"addi t0, x0, {value}\nsw t0, 0({place})\n"


X, Y, FENCE = "s0", "s1", "fence\n"
READ_X, READ_Y = "lw a0, 0(s0)\n", "lw a0, 0(s1)\n"
THEN_X, THEN_Y = "lw a1, 0(s0)\n", "lw a1, 0(s1)\n"
BEHIND_A0 = "xor t1, a0, a0\n"  # zero, but dependent on a0
DEPENDENT_X = BEHIND_A0 + "add t1, t1, s0\nlw a1, 0(t1)\n"
DEPENDENT = BEHIND_A0 + "addi t1, t1, 1\n"
FAR_X = "addi t0, x0, 1\namoswap.w.aqrl x0, t0, (s0)\n"
FAR_Y = "addi t0, x0, 1\namoswap.w.aqrl x0, t0, (s1)\n"


def both_zero(r: Sequence[int], x: int, y: int) -> bool:
    return r[0] == 0 and r[2] == 0


def message_lost(r: Sequence[int], x: int, y: int) -> bool:
    """The second hart saw y, and then not x."""
    return r[2] == 1 and r[3] == 0


SHAPES = (
    Shape("SB+fences", (store(X, 1) + FENCE + READ_Y, store(Y, 1) + FENCE + READ_X), both_zero),
    Shape("SB+amos", (FAR_X + "amoadd.w.aqrl a0, x0, (s1)\n", FAR_Y + "amoadd.w.aqrl a0, x0, (s0)\n"), both_zero),
    Shape("MP+fences", (store(X, 1) + FENCE + store(Y, 1), READ_Y + FENCE + THEN_X), message_lost),
    Shape("MP+rl+aq", (store(X, 1) + "addi t0, x0, 1\namoswap.w.rl x0, t0, (s1)\n",
                       "lr.w.aq a0, (s1)\n" + THEN_X), message_lost),
    Shape("MP+fence+addr", (store(X, 1) + FENCE + store(Y, 1), READ_Y + DEPENDENT_X), message_lost),
    Shape("LB+fences", (READ_X + FENCE + store(Y, 1), READ_Y + FENCE + store(X, 1)),
          lambda r, x, y: r[0] == 1 and r[2] == 1),
    Shape("LB+datas", (READ_X + DEPENDENT + "sw t1, 0(s1)\n", READ_Y + DEPENDENT + "sw t1, 0(s0)\n"),
          lambda r, x, y: r[0] == 1 and r[2] == 1),
    Shape("2+2W+fences", (store(X, 1) + FENCE + store(Y, 2), store(Y, 1) + FENCE + store(X, 2)),
          lambda r, x, y: x == 1 and y == 1),
    Shape("S+fence+data", (store(X, 2) + FENCE + store(Y, 1), READ_Y + DEPENDENT + "sw t1, 0(s0)\n"),
          lambda r, x, y: r[2] == 1 and x == 2),
    Shape("R+fences", (store(X, 1) + FENCE + store(Y, 1), store(Y, 2) + FENCE + READ_X),
          lambda r, x, y: y == 2 and r[2] == 0),
    Shape("CoRR", (store(X, 1), READ_X + THEN_X), message_lost),
    Shape("CoWW", (store(X, 1) + store(X, 2), READ_X + THEN_X),
          lambda r, x, y: x != 2 or r[3] < r[2]),
    Shape("CoRW", (READ_X + store(X, 1), store(X, 2)), lambda r, x, y: r[0] == 1 or (r[0] == 2 and x != 1)),
    Shape("whole doubleword", ("addi t0, x0, -1\nsd t0, 0(s0)\n", "lwu a0, 0(s0)\nld a1, 0(s0)\n"),
          lambda r, x, y: r[3] not in (0, (1 << 64) - 1) or (r[2] != 0 and r[3] == 0)),
    Shape("IRIW+fences", (store(X, 1), store(Y, 1), READ_X + FENCE + THEN_Y, READ_Y + FENCE + THEN_X),
          lambda r, x, y: r[4] == 1 and r[5] == 0 and r[6] == 1 and r[7] == 0),
)  # fmt: skip

#: Allowed to be weak (rule 4 of the store buffer): tells whether the harness can see anything at all.
WEAK = Shape("SB", (store(X, 1) + READ_Y, store(Y, 1) + READ_X), both_zero)

XS, YS, RESULTS, MEETING, STRIDE = 0x8100_0000, 0x8200_0000, 0x8300_0000, 0x8080_0000, 64


def guest(shape: Shape, rounds: int) -> str:
    """Every hart does its part `rounds` times; all meet before each, and set off after delays that change."""
    harts = len(shape.bodies)
    text = f"""
        csrrs s11, mhartid, x0
        li s0, {XS:#x}
        li s1, {YS:#x}
        li s2, {RESULTS:#x}
        li s3, {rounds}
        li s4, {MEETING:#x}
        addi s5, x0, 0
        addi s8, x0, 1
    """
    for number in range(harts):
        text += f"addi t0, x0, {number}\nbeq s11, t0, hart{number}\n"
    for number, body in enumerate(shape.bodies):
        text += f"""
        hart{number}:
            addi s5, s5, {harts}
            amoadd.w.aqrl x0, s8, (s4)
        meet{number}:
            lw t0, 0(s4)
            blt t0, s5, meet{number}
            srl t1, s3, {"x0" if number == 0 else "s8"}
            andi t1, t1, {(7, 15, 31, 13)[number]}
        delay{number}:
            addi t1, t1, -1
            bge t1, x0, delay{number}
            addi a0, x0, 0
            addi a1, x0, 0
            {body}
            sd a0, {16 * number}(s2)
            sd a1, {16 * number + 8}(s2)
            addi s0, s0, {STRIDE}
            addi s1, s1, {STRIDE}
            addi s2, s2, {STRIDE}
            addi s3, s3, -1
            bne s3, x0, hart{number}
            j finish
        """
    return text + f"""
        finish:
            addi s5, s5, {harts}
            amoadd.w.aqrl x0, s8, (s4)
        last:
            lw t0, 0(s4)
            blt t0, s5, last
            beq s11, x0, off
        park:
            wfi
            j park
    """
