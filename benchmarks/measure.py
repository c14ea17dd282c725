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
    """Run it without input."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
        env=os.environ | (env or {}),
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timed(cpu, time.monotonic() - began, done.returncode, done.stdout.decode(errors="replace"))


def initramfs(busybox: Path, more: str = "") -> bytes:
    """Debian's static busybox and an init that says what it is and powers off."""
    out = io.BytesIO()
    archive = Cpio(out)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("init", INIT.format(more=more).encode(), 0o755)
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
    """Medians, and ratios to `base`."""
    cpu = {name: statistics.median(r.cpu for r in found) for name, found in runs.items()}
    wall = {name: statistics.median(r.wall for r in found) for name, found in runs.items()}
    for name in runs:
        ratio = f"  {cpu[name] / cpu[base]:.2f} x {base}" if base in cpu and name != base else ""
        print(f"{name:10} cpu {cpu[name]:7.3f} s  wall {wall[name]:7.3f} s  over {len(runs[name])} runs{ratio}")
