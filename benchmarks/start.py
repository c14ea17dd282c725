"""How long starting takes: `popek --version`, `popek boot --help`, a micro guest warm, and the first start ever.

    python benchmarks/start.py [-n 9] [--popek popek]

The first start ever has an empty XDG_CACHE_HOME: it compiles what all later starts load.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile

from measure import interleaved, report, timed

from popek.api.checks import micro_guest


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", "--times", type=int, default=9)
    p.add_argument("--popek", default=f"{sys.executable} -m popek")
    a = p.parse_args()
    popek = shlex.split(a.popek)
    with tempfile.NamedTemporaryFile(suffix=".elf") as guest, tempfile.TemporaryDirectory() as cache:
        guest.write(micro_guest(1 << 12))
        guest.flush()
        os.environ["XDG_CACHE_HOME"] = cache
        first = timed([*popek, "boot", guest.name])
        if first.status or "ok" not in first.output:
            raise SystemExit(f"the micro guest failed: status {first.status}\n{first.output}")
        print(f"{'first ever':10} cpu {first.cpu:7.3f} s  wall {first.wall:7.3f} s")
        report(interleaved({"version": [*popek, "--version"]}, a.times, "popek "), "")
        report(interleaved({"help": [*popek, "boot", "--help"]}, a.times, "usage"), "")
        report(interleaved({"micro boot": [*popek, "boot", guest.name]}, a.times, "ok"), "")


if __name__ == "__main__":
    main()
