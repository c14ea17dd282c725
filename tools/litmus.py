"""Litmus tests of RISC-V's memory model on Popek: python tools/litmus.py FOLDER... [--rounds 300] [--engine template]

A folder holds tests in herd's format (*.litmus), such as those of github.com/litmus-tests/litmus-tests-riscv. Each is
run many times; an outcome that RVWMO does not allow (tests/parallel/rvwmo) is shown, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.parallel import crew, herd, rvwmo  # noqa: E402
from tests.parallel.threads import observed  # noqa: E402


def read(folders: list[Path], only: str) -> tuple[list[herd.Litmus], Counter[str]]:
    """Tests whose text is understood, each once, and why others are not."""
    tests: dict[object, herd.Litmus] = {}
    left_out: Counter[str] = Counter()
    files = [f for folder in folders for f in (sorted(folder.rglob("*.litmus")) if folder.is_dir() else [folder])]
    for file in files:
        if only not in file.name:
            continue
        try:
            test = herd.parse(file.read_text())
            rvwmo.widths(test)
            tests[test.threads, tuple(test.registers.items()), tuple(test.memory.items())] = test
        except herd.Unsupported as problem:
            left_out[str(problem)] += 1
    return list(tests.values()), left_out


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", nargs="+", type=Path)
    p.add_argument("--rounds", type=int, default=300)
    p.add_argument("--engine", default="template", choices=("template", "optimizing", "step", "auto"))
    p.add_argument("--only", default="", help="tests whose file name contains this")
    p.add_argument("--seconds", type=float, default=1e9, help="begin no further guest after so long")
    a = p.parse_args()
    if missing := [str(folder) for folder in a.folder if not folder.exists()]:
        p.error(f"there is no {missing[0]}")
    tests, left_out = read(a.folder, a.only)
    for why, count in left_out.most_common():
        print(f"left out: {count} with {why}")
    began, ran, seen, bad, shown = time.monotonic(), 0, 0, 0, 0
    for batch in crew.batches(tests, a.rounds):
        if time.monotonic() - began > a.seconds:
            break
        with tempfile.TemporaryDirectory() as folder:
            found = crew.run(Path(folder), batch, a.engine)
        if found is None:
            print("hangs:", ", ".join(placed.test.name for placed in batch))
            return 1
        for placed, outcomes in zip(batch, found, strict=True):
            test = placed.test
            ran, seen = ran + 1, seen + len(outcomes)
            shown += any(rvwmo.holds(test, outcome) for outcome in outcomes)
            for outcome, count in outcomes.items():
                if not rvwmo.allowed(test, outcome):
                    bad += 1
                    names = [f"{t}:x{r}" for t, r in observed(test)] + list(test.memory)
                    said = "; ".join(f"{name}={value:#x}" for name, value in zip(names, outcome, strict=True))
                    print(f"NOT ALLOWED: {test.name}: {said} ({count} of {placed.rounds})", flush=True)
    print(f"{ran} of {len(tests)} tests, {a.rounds} rounds each on {a.engine}: {seen} different outcomes, "
          f"{bad} not allowed; the condition of {shown} was met; {time.monotonic() - began:.0f} s")  # fmt: skip
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
