"""Litmus tests of RISC-V's memory model on Popek: python tools/litmus.py FOLDER... [--rounds 300] [--engine template]

A folder holds tests in herd's format (*.litmus), such as those of github.com/litmus-tests/litmus-tests-riscv. Each is
run many times; an outcome that RVWMO does not allow (tests/parallel/rvwmo) is shown, and makes the exit status 1.
With --log nothing runs: the model is asked about what somebody else's machine showed, by a log of the tool `litmus`.
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


def judge(tests: list[herd.Litmus], log: str) -> int:
    """Does the model allow what was seen on other machines?"""
    names = Counter(test.name for test in tests)
    by_name = {test.name: test for test in tests if names[test.name] == 1}
    logged = asked = bad = 0
    for name, states in herd.histograms(log):
        if name in by_name:
            logged, asked = logged + 1, asked + len(states)
            for state, fine in zip(states, rvwmo.known(by_name[name], states), strict=True):
                if not fine:
                    bad += 1
                    print(f"NOT ALLOWED: {name}: {state}")
    print(f"{logged} tests of the log are known: {asked} states were seen, {bad} are not allowed")
    return bad > 0


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", nargs="+", type=Path)
    p.add_argument("--rounds", type=int, default=300)
    p.add_argument("--engine", default="template", choices=("template", "optimizing", "step", "auto"))
    p.add_argument("--only", default="", help="tests whose file name contains this")
    p.add_argument("--seconds", type=float, default=1e9, help="begin no further guest after so long")
    p.add_argument("--log", type=Path)
    a = p.parse_args()
    if missing := [str(f) for f in (*a.folder, *filter(None, [a.log])) if not f.exists()]:
        p.error(f"there is no {missing[0]}")
    tests, left_out = read(a.folder, a.only)
    for why, count in left_out.most_common():
        print(f"left out: {count} with {why}")
    if a.log:
        return judge(tests, a.log.read_text())
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
                    parts = zip(rvwmo.names_of(test), outcome, strict=True)
                    said = "; ".join(f"{name}={value:#x}" for name, value in parts)
                    print(f"NOT ALLOWED: {test.name}: {said} ({count} of {placed.rounds})", flush=True)
    print(f"{ran} of {len(tests)} tests, {a.rounds} rounds each on {a.engine}: {seen} different outcomes, "
          f"{bad} not allowed; the condition of {shown} was met; {time.monotonic() - began:.0f} s")  # fmt: skip
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
