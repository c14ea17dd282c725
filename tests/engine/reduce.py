"""Making a program small on which the engines differ, and showing it to people. What differs is pair's to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from popek.isa import table
from tests.engine.scaffold import Program


def smaller(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Delete instructions (put no-operations) and state as long as it fails still."""

    def without(words: list[tuple[int, int, int]], low: int, high: int) -> list[tuple[int, int, int]]:
        return [(a, (0x13 if n == 4 else 1) if low <= i < high else w, n) for i, (a, w, n) in enumerate(words)]

    best = program
    for i in reversed(range(len(program.landings))):
        if fails(trial := replace(best, landings=best.landings[:i] + best.landings[i + 1 :])):
            best = trial
    for size in (256, 64, 16, 4, 1):
        i = 0
        while i < len(best.words):
            if any(w not in (0x13, 1) for _, w, _ in best.words[i : i + size]):
                trial = replace(best, words=without(best.words, i, i + size))
                if fails(trial):
                    best = trial
            i += size
    for name in list(best.state):
        if name != "pc" and fails(trial := replace(best, state={k: v for k, v in best.state.items() if k != name})):
            best = trial
    for name, value in (
        ("entries", []),
        ("pool", []),
        ("junk", -1),
        ("vectored", False),
        ("patience", 0),
        ("data", 0),
    ):
        if fails(trial := replace(best, **{name: value})):
            best = trial
    for size in (256, 64, 16, 4, 1):  # no-operations around which nothing is left
        i = 0
        while i < len(best.words):
            piece = best.words[i : i + size]
            trial = replace(best, words=best.words[:i] + best.words[i + size :])
            if all(w in (0x13, 1) for _, w, _ in piece) and fails(trial):
                best = trial
            else:
                i += size
    return best


def describe(program: Program, found: list[str]) -> str:
    """For the person who reads the failure."""
    return "\n".join([program.note, *found[:20], program.listing()])


def disassembled(program: Program, lines: list[str]) -> list[str]:
    """Traces with texts, from the program's own words."""
    at = {a & 0xF_FFFF: w for a, w, _ in program.words}
    made = []
    for line in lines:
        pc = int(line.split()[0], 16)
        word = at.get(pc & 0xF_FFFF)
        made.append(f"{line}  {table.disassemble(word, pc) if word is not None else ''}")
    return made
