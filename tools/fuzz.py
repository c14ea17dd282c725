"""Random instruction streams on the reference and the other engines: python tools/fuzz.py --seconds 600 [--regions]

Streams run in a child process, so that a crash or a hang names its seed, too. A stream that differs is made small and
written as a file that tests/engine/kept can take over, and which --replay runs.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
STUCK = 60.0  # seconds without a word from the child


def child(seed: int, seconds: float, regions: bool) -> None:
    """Run seeds from `seed` on; report each before it begins, and what differs."""
    from popek.engine.template import setup
    from tests.engine.forced import Regions
    from tests.engine.pair import Pair
    from tests.engine.streams import stream

    pairs = [Pair()]
    setup.ARENA, setup.PAGES, setup.LINKS, setup.CELLS = 256 << 10, 6, 1 << 10, 1 << 10  # everything runs out, often
    pairs.append(Pair())
    end = time.monotonic() + seconds
    compiled = [Regions(pair) for pair in pairs]
    while time.monotonic() < end:
        program = stream(seed)
        pair = pairs[seed % 4 == 3]
        print("seed", seed, flush=True)
        found = compiled[seed % 4 == 3].check(program) if regions else pair.check(program)
        print("ran", pair.oracle.steps, "ended" if pair.oracle.desk.finished else "cut", flush=True)
        if found:
            print("differs", seed, found[0].replace("\n", " "), flush=True)
        seed += 1


def crowd(seed: int, seconds: float, harts: int) -> int:
    """The same with several harts at once that must not notice each other."""
    from tests.engine.crowd import Crowd
    from tests.engine.streams import stream

    made = Crowd(harts)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = made.check([stream(seed + i) for i in range(8 * harts)])
        if found:
            print(*found, sep="\n")
            return 1
        seed += 8 * harts
    print(f"{made.steps} instructions, three times on each of {harts} harts, no difference")
    return 0


def watch(seed: int, seconds: float, regions: bool) -> tuple[int, int, list[tuple[int, str]]]:
    """Children one after another until the time is over: streams, instructions, failures."""
    end = time.monotonic() + seconds
    streams, instructions, failures = 0, 0, []
    while (left := end - time.monotonic()) > 0:
        command = [sys.executable, __file__, "--child", "--seed", str(seed), "--seconds", str(left)]
        command += ["--regions"] if regions else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        assert process.stdout is not None
        text, last = b"", time.monotonic()
        problem = ""
        while True:
            ready, _, _ = select.select([process.stdout], [], [], 1.0)
            if not ready:
                if time.monotonic() - last > STUCK:
                    problem = "hang"
                    process.kill()
                    break
                continue
            data = os.read(process.stdout.fileno(), 65536)
            last = time.monotonic()
            if not data:
                break
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                words = line.decode().split(" ", 2)
                if words[0] == "seed":
                    seed = int(words[1])
                    streams += 1
                elif words[0] == "ran":
                    instructions += int(words[1])
                elif words[0] == "differs":
                    failures.append((int(words[1]), words[2]))
                    print(line.decode(), flush=True)
        status = process.wait()
        if status and not problem:
            problem = f"crash (status {status})"
        if problem:
            print("seed", seed, problem, flush=True)
            failures.append((seed, problem))
            if len(failures) > 20 or status == 1:  # 1: an exception of this program itself
                break
        seed += 1
    return streams, instructions, failures


def reduce(seed: int, folder: Path) -> Path:
    """Make the stream of a seed small and write it down."""
    from tests.engine.pair import Pair
    from tests.engine.reduce import describe, disassembled, smaller
    from tests.engine.streams import stream

    pair = Pair()
    program = stream(seed)
    small = smaller(program, lambda trial: bool(pair.check(trial)))
    small.note = f"seed {seed}: {'; '.join(pair.check(small)[:3])}"
    path = folder / f"seed{seed}.json"
    path.write_text(small.to_json() + "\n")
    print(describe(small, pair.check(small)))
    found, ran = pair.narrow(small)
    print("first difference:", *found[:12], *disassembled(small, ran)[-16:], sep="\n  ")
    return path


def replay(path: Path) -> bool:
    """Run a written program. True: the engines agree."""
    from tests.engine.pair import Pair
    from tests.engine.reduce import describe
    from tests.engine.scaffold import Program

    program = Program.from_json(path.read_text())
    found = Pair().check(program)
    print(describe(program, found) if found else "no difference")
    return not found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first stream; those that follow count up")
    parser.add_argument("--keep", type=Path, default=Path("."), help="folder for streams that differ")
    parser.add_argument("--replay", type=Path, help="run one such file instead")
    parser.add_argument("--reduce", action="store_true", help="only make the stream of --seed small")
    parser.add_argument("--harts", type=int, default=0, help="so many harts at once, each with a program of its own")
    parser.add_argument("--regions", action="store_true", help="compile regions at some poll points and run on")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replay:
        return 0 if replay(options.replay) else 1
    if options.harts:
        return crowd(options.seed, options.seconds, options.harts)
    if options.child:
        child(options.seed, options.seconds, options.regions)
        return 0
    if options.reduce:
        print(reduce(options.seed, options.keep))
        return 0
    began = time.monotonic()
    streams, instructions, failures = watch(options.seed, options.seconds, options.regions)
    print(
        f"{streams} streams, {instructions} instructions, {len(failures)} failures "
        f"in {time.monotonic() - began:.0f} s, seeds from {options.seed}"
    )
    for seed, problem in failures[:3]:
        if options.regions or problem.startswith(("hang", "crash")):
            print(f"not made small ({problem}): --child --seed {seed}")
        else:
            print("kept as", reduce(seed, options.keep))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
