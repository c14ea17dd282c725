"""What the benchmarks share: CPU seconds of a command with all its children, the small guest, medians. No benchmark."""

from __future__ import annotations

import io
import os
import resource
import shlex
import statistics
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from popek.images.cpio import Cpio

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox uname -a
/bin/busybox grep -c ^processor /proc/cpuinfo
{more}
echo guest is up
/bin/busybox poweroff -f
"""


class Timed(NamedTuple):
    """One run."""

    cpu: float  # user + system seconds of the process and all it waited for
    wall: float
    status: int
    output: str


def timed(command: list[str], timeout: float = 600, env: dict[str, str] | None = None) -> Timed:
    """Run it without input. One that does not end is killed; its output then ends in whether it did anything."""
    before, began = children_cpu(), time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | (env or {}),
    ) as process:  # fmt: skip
        hangs = ""
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            ticks = cpu_ticks(process.pid)
            time.sleep(1)
            hangs = f"\nhangs after {timeout} s; ticks of CPU time in one more: {cpu_ticks(process.pid) - ticks}"
            process.kill()
            output, _ = process.communicate()
    wall = time.monotonic() - began
    return Timed(children_cpu() - before, wall, process.returncode, output.decode(errors="replace") + hangs)


def children_cpu() -> float:
    """User + system seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_ticks(process: int) -> int:
    """User and system time of a process, in clock ticks (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def initramfs(busybox: Path, more: str = "", programs: dict[str, bytes] | None = None) -> bytes:
    """Debian's static busybox, other programs, and an init that says what it is and powers off."""
    out = io.BytesIO()
    archive = Cpio(out)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("init", INIT.format(more=more).encode(), 0o755)
    for name, content in (programs or {}).items():
        archive.file(name, content, 0o755)
    archive.device("dev/console", "c", 5, 1)
    archive.close()
    return out.getvalue()


def interleaved(
    commands: dict[str, list[str]], times: int, expect: str = "", timeout: float = 600
) -> dict[str, list[Timed]]:
    """A B C A B C ...; a run that does not say `expect` ends it all."""
    runs: dict[str, list[Timed]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            run = timed(command, timeout)
            if run.status or expect not in run.output:
                raise SystemExit(f"{name}: status {run.status}: {shlex.join(command)}\n{run.output[-2000:]}")
            runs[name].append(run)
    return runs


def report(runs: dict[str, list[Timed]], base: str) -> None:
    """Medians, the longest wall time, and ratios to `base`."""
    cpu = {name: statistics.median(r.cpu for r in found) for name, found in runs.items()}
    wall = {name: statistics.median(r.wall for r in found) for name, found in runs.items()}
    for name in runs:
        ratio = f"  {cpu[name] / cpu[base]:.2f} x {base}" if base in cpu and name != base else ""
        walls = f"wall {wall[name]:7.3f} s, longest {max(r.wall for r in runs[name]):.2f} s"
        print(f"{name:10} cpu {cpu[name]:7.3f} s  {walls}  over {len(runs[name])} runs{ratio}")
