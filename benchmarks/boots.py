"""Boots one after another, until all have powered off or one hangs: the hang test for several harts.

    python benchmarks/boots.py --kernel Image --initrd initrd.gz [--times 100] [--smp 4] [--engine auto] [--timeout 60]

The initrd's init must power off. What a boot that does not end said is shown, and whether its CPU time still grew.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def cpu_ticks(process: int) -> int:
    """User and system time of a process, in clock ticks (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def boot(command: list[str], timeout: float) -> float:
    """Seconds it took; SystemExit with what is known if it hung or failed."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT) as process:
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                before = cpu_ticks(process.pid)
                time.sleep(1)
                status = f"hangs after {timeout} s; ticks of CPU time in one more: {cpu_ticks(process.pid) - before}"
                process.kill()
        if status:
            out.seek(0)
            said = out.read()[-3000:].decode(errors="replace")
            raise SystemExit(f"{shlex.join(command)}: {status}\n{said}")
    return time.monotonic() - began


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kernel", required=True)
    p.add_argument("--initrd", required=True)
    p.add_argument("--append", default="console=ttyS0 quiet panic=-1")
    p.add_argument("--times", type=int, default=100)
    p.add_argument("--smp", type=int, default=4)
    p.add_argument("--engine", default="auto")
    p.add_argument("--timeout", type=float, default=60)
    p.add_argument("--popek", default=f"{sys.executable} -m popek boot")
    a = p.parse_args()
    machine = ["--initrd", a.initrd, "--append", a.append, "--smp", str(a.smp), "--engine", a.engine]
    took = []
    for number in range(1, a.times + 1):
        took.append(boot([*shlex.split(a.popek), a.kernel, *machine], a.timeout))
        if number % 10 == 0 or number == a.times:
            figures = f"median {statistics.median(took):.2f} s, longest {max(took):.2f} s"
            print(f"{number} boots with {a.smp} harts: {figures}", flush=True)


if __name__ == "__main__":
    main()
