"""How much more work two harts do than one: the same program of pure computation on each hart, on the bare machine.

    python benchmarks/parallel.py [-n 5] [--rounds 400000000] [--engine auto] [--harts 2]

Every hart runs the same loop over memory of its own; throughput is work over wall time, without the start. On an idle
machine with as many processors as harts the ratio should be near their number (SPECIFICATION.md: 1.8 for two).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.vmm.guests import machine

PLACE, MEETING = 0x8100_0000, 0x8080_0000


def guest(rounds: int) -> str:
    """A linear congruential generator that stores and loads; hart 0 powers off when all are done."""
    return f"""
        csrrs s11, mhartid, x0
        li s0, {PLACE:#x}
        slli t0, s11, 16
        add s0, s0, t0
        li s1, {rounds}
        li s2, 1103515245
        li s4, {MEETING:#x}
        addi s8, x0, 1
    loop:
        mul t0, t0, s2
        addi t0, t0, 1013
        srli t1, t0, 40
        andi t1, t1, 2040
        add t1, t1, s0
        ld t2, 0(t1)
        xor t2, t2, t0
        sd t2, 0(t1)
        addi s1, s1, -1
        bne s1, x0, loop
        amoadd.w.aqrl x0, s8, (s4)
        bne s11, x0, park
        lw s9, 8(s4)
    last:
        lw t0, 0(s4)
        blt t0, s9, last
        j off
    park:
        wfi
        j park
    """


def seconds(rounds: int, harts: int, engine: str) -> float:
    """Wall time from the first instruction to power-off."""
    with tempfile.TemporaryDirectory() as folder:
        with machine(Path(folder), guest(rounds), engine=engine, harts=harts) as made:
            made._memory.write(MEETING + 8, harts.to_bytes(4, "little"))
            began = time.monotonic()
            made.start()
            if made.wait(300) is None:
                raise SystemExit(f"{harts} harts: not done after 300 s")
            return time.monotonic() - began


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", "--times", type=int, default=5)
    p.add_argument("--rounds", type=int, default=400_000_000)
    p.add_argument("--harts", type=int, default=2)
    p.add_argument("--engine", default="auto")
    a = p.parse_args()
    alone, together = [], []
    for _ in range(a.times):
        alone.append(seconds(a.rounds, 1, a.engine))
        together.append(seconds(a.rounds, a.harts, a.engine))
    ratio = a.harts * statistics.median(alone) / statistics.median(together)
    print(f"one hart {statistics.median(alone):.3f} s, {a.harts} harts with as much work each "
          f"{statistics.median(together):.3f} s: throughput x {ratio:.2f} ({a.engine})")  # fmt: skip


if __name__ == "__main__":
    main()
