"""Random vector instructions here and on QEMU: python -m tests.isa.vector.compare --count 10000 [--only vadd]

Not a test.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from popek.isa.vector import table
from popek.isa.vector.config import configure
from tests.isa.vector.machine import SIZE, Generator, Here, Machine, described, differences, elsewhere


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of mnemonics")
    parser.add_argument("--python", action="store_true", help="plain Python instead of machine code")
    parser.add_argument("--wild", action="store_true", help="do not prefer legal instructions")
    parser.add_argument("--show", type=int, default=10)
    options = parser.parse_args()
    ops = [op for op in table.OPS if op.mnemonic.startswith(tuple(options.only)) and op.fn is not configure]
    here = Here(not options.python)
    generator = Generator(options.seed, ops, None if options.wild else here)
    cases = [generator.case() for _ in range(options.count)]
    with tempfile.TemporaryDirectory() as folder:
        there = elsewhere(b"".join(cases), Path(folder))
    bad: Counter[str] = Counter()
    ran: Counter[str] = Counter()
    start = time.process_time()
    for number, case in enumerate(cases):
        mine, one = here.execute(case), Machine.from_buffer_copy(case)
        op = next(op for op in ops if one.word & op.encoding.mask == op.encoding.match)
        ran[op.mnemonic] += not Machine.from_buffer_copy(mine).trap
        if found := differences(case, mine, there[number * SIZE : (number + 1) * SIZE]):
            bad[op.mnemonic] += 1
            if sum(bad.values()) <= options.show:
                print("\n    ".join([f"#{number} {described(op, one)}", *found]))
    legal = sum(ran.values())
    print(f"{legal} instructions, {options.count - legal} illegal, {time.process_time() - start:.1f} s here")
    print("never ran:", *(op.mnemonic for op in ops if not ran[op.mnemonic]))
    print("different:", *(f"{name}:{count}" for name, count in bad.most_common()))


if __name__ == "__main__":
    main()
