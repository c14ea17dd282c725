"""Runs litmus tests on Popek: many tests in one guest, each many times, and what came of it. No assertions here.

Each round of a test has variables of its own, on cache lines of their own. The harts meet before each round, and set
off after delays that change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.parallel import rvwmo
from tests.parallel.herd import Litmus
from tests.parallel.rvwmo import Outcome
from tests.parallel.threads import MASK, addresses, observed
from tests.vmm.guests import machine

MEETING, DATA, END = 0x8080_0000, 0x8100_0000, 0x83C0_0000  # the device tree lies at the end of RAM
LINE, RECORD = 64, 128
MOST = RECORD // 8             # registers that a record has room for


class Placed(NamedTuple):
    """A test with places in the guest's memory."""

    test: Litmus
    rounds: int
    variables: dict[str, int]
    records: tuple[int, ...]   # of each thread: its observed registers, round by round
    saved: tuple[tuple[int, ...], ...]


def batches(tests: Sequence[Litmus], rounds: int, most: int = 100) -> Iterator[list[Placed]]:
    """Tests of as many threads, as many as fit into a guest's memory."""
    for harts in sorted({len(test.threads) for test in tests}):
        batch: list[Placed] = []
        at = DATA
        for test in (test for test in tests if len(test.threads) == harts):
            size = rounds * (LINE * len(test.memory) + RECORD * harts)
            if batch and (at + size > END or len(batch) == most):
                yield batch
                batch, at = [], DATA
            batch.append(_place(test, rounds, at))
            at += size
        if batch:
            yield batch


def _place(test: Litmus, rounds: int, at: int) -> Placed:
    variables = {name: at + n * LINE * rounds for n, name in enumerate(test.memory)}
    at += LINE * rounds * len(variables)
    threads = range(len(test.threads))
    saved = tuple(tuple(r for thread, r in observed(test) if thread == t) for t in threads)
    return Placed(test, rounds, variables, tuple(at + t * RECORD * rounds for t in threads), saved)


def run(folder: Path, batch: Sequence[Placed], engine: str, timeout: float = 250) -> list[Counter[Outcome]] | None:
    """What was seen of each, with how often; None if the guest hung."""
    with machine(folder, _guest(batch), engine=engine, harts=len(batch[0].test.threads)) as made:
        for placed in batch:
            for name, value in placed.test.memory.items():
                if value:
                    made._memory.write(placed.variables[name], _initial(placed, value))
        made.start()
        if made.wait(timeout) is None:
            return None
        return [_outcomes(placed, made._memory.read) for placed in batch]


def _initial(placed: Placed, value: int | str) -> bytes:
    if isinstance(value, int):
        return (value & MASK).to_bytes(LINE, "little") * placed.rounds
    base = placed.variables[value]
    return b"".join((base + n * LINE).to_bytes(LINE, "little") for n in range(placed.rounds))


def _outcomes(placed: Placed, read) -> Counter[Outcome]:
    """In the model's terms: an address is where the model puts that variable."""
    where, widths = addresses(placed.test), rvwmo.widths(placed.test)
    seen: Counter[Outcome] = Counter()
    columns = []
    for thread, saved in enumerate(placed.saved):
        record = bytes(read(placed.records[thread], RECORD * placed.rounds))
        for n in range(len(saved)):
            columns.append([int.from_bytes(record[at : at + 8], "little") for at in range(8 * n, len(record), RECORD)])
    for name, base in placed.variables.items():
        line, width = bytes(read(base, LINE * placed.rounds)), widths.get(where[name], 4)
        columns.append([int.from_bytes(line[at : at + width], "little") for at in range(0, len(line), LINE)])
    for n, row in enumerate(zip(*columns, strict=True)):
        if any(value >= DATA for value in row):
            names = {base + n * LINE: where[name] for name, base in placed.variables.items()}
            row = tuple(names.get(value, value) for value in row)
        seen[row] += 1
    return seen


def _guest(batch: Sequence[Placed]) -> str:
    harts = len(batch[0].test.threads)
    lines = ["csrrs x31, mhartid, x0"]
    for number in range(harts):
        lines += [f"addi x30, x0, {number}", f"bne x31, x30, not{number}", f"j hart{number}", f"not{number}:"]
    for number in range(harts):
        lines.append(f"hart{number}:")
        for n, placed in enumerate(batch):
            lines += _thread(placed, n, number)
        lines += _meet(f"end{number}", ["x31", "x30", "x29", "x28"], harts)
        lines += ["j off"] if number == 0 else [f"park{number}:", "wfi", f"j park{number}"]
    return "\n".join(lines)


def _thread(placed: Placed, n: int, number: int) -> list[str]:
    """All rounds of one hart in one test."""
    test, name = placed.test, f"t{n}h{number}"
    code = test.threads[number]
    first = {register: value for (thread, register), value in test.registers.items() if thread == number}
    used = {r for i in code for r in (i.rd, i.rs1, i.rs2)} | set(first) | {0}
    round_, *free = [f"x{r}" for r in range(31, 0, -1) if r not in used]
    if len(free) < 4 or len(placed.saved[number]) > MOST:
        raise ValueError(f"{test.name}: too many registers")
    lines = [f"addi {round_}, x0, 0", f"{name}:"]
    for register in sorted(used - {0}):
        value = first.get(register, 0)
        if isinstance(value, str):
            lines += [f"li x{register}, {placed.variables[value]}", f"add x{register}, x{register}, {round_}"]
        else:
            lines.append(f"addi x{register}, x0, {value}")
    lines += _meet(name, free, len(test.threads))
    lines += [f"srli {free[0]}, {round_}, {6 + number % 3}", f"andi {free[0]}, {free[0]}, {(7, 15, 31, 13)[number]}",
              f"{name}delay:", f"addi {free[0]}, {free[0]}, -1", f"bge {free[0]}, x0, {name}delay"]  # fmt: skip
    labels = {i.target for i in code if i.kind == "label"}
    for i in code:
        here = f"{name}to{i.target}" if i.target in labels else f"{name}end"
        if i.kind == "label":
            lines.append(f"{here}:")
        elif i.kind in ("branch", "jump"):
            lines.append(i.text.rpartition(" ")[0] + " " + here)
        else:
            lines.append(i.text)
    lines += [f"{name}end:", f"li {free[0]}, {placed.records[number]}", f"add {free[0]}, {free[0]}, {round_}",
              f"add {free[0]}, {free[0]}, {round_}"]  # fmt: skip
    lines += [f"sd x{register}, {8 * at}({free[0]})" for at, register in enumerate(placed.saved[number])]
    return [*lines, f"addi {round_}, {round_}, {LINE}", f"li {free[0]}, {LINE * placed.rounds}",
            f"beq {round_}, {free[0]}, {name}done", f"j {name}", f"{name}done:"]  # fmt: skip


def _meet(name: str, free: Sequence[str], harts: int) -> list[str]:
    """Until all harts have come here. Who waits for long lets others run."""
    place, number, goal, count = free[:4]
    return [
        f"li {place}, {MEETING}", f"addi {number}, x0, 1", f"amoadd.w.aqrl {goal}, {number}, ({place})",
        f"addi {number}, x0, {harts}", f"remu {count}, {goal}, {number}", f"sub {goal}, {goal}, {count}",
        f"add {goal}, {goal}, {number}", f"addi {number}, x0, 100",
        f"{name}wait:", f"lw {count}, 0({place})", f"bge {count}, {goal}, {name}go", f"addi {number}, {number}, -1",
        f"bge {number}, x0, {name}wait", "pause", f"j {name}wait", f"{name}go:",
    ]  # fmt: skip
