"""Resident memory of an idle, booted Linux guest, against the guest pages it touched.

    python benchmarks/memory.py --kernel vmlinux --busybox busybox [--memory 512M] [--smp 1] [--popek 'popek boot']

The guest's RAM is one mapping named memfd:popek-ram (or the largest shared mapping); what is resident beyond it is the
monitor's own: code, Python, translated code.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import initramfs

IDLE = "echo guest is idle; /bin/busybox sleep 600"


def resident(pid: int) -> tuple[int, int]:
    """KiB resident: of the whole process, and of its largest mapping."""
    whole = largest = size = largest_size = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Size":
            size = int(rest.split()[0])
        elif name == "Rss":
            kib = int(rest.split()[0])
            whole += kib
            if size > largest_size:
                largest, largest_size = kib, size
    return whole, largest


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kernel", required=True, type=Path)
    p.add_argument("--busybox", required=True, type=Path)
    p.add_argument("--memory", default="512M")
    p.add_argument("--smp", default="1")
    p.add_argument("--popek", default=f"{sys.executable} -m popek boot")
    p.add_argument("--settle", type=float, default=3.0, metavar="SECONDS")
    a = p.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".cpio") as initrd:
        initrd.write(initramfs(a.busybox, IDLE))
        initrd.flush()
        command = [
            *shlex.split(a.popek), str(a.kernel), "--initrd", initrd.name, "--append", "console=ttyS0 quiet",
            "--memory", a.memory, "--smp", a.smp,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            assert process.stdout
            seen = b""
            while b"guest is idle" not in seen:
                data = os.read(process.stdout.fileno(), 4096)
                if not data:
                    raise SystemExit(f"the guest ended: {seen[-1000:].decode(errors='replace')}")
                seen += data
            time.sleep(a.settle)
            before = cpu(process.pid)
            time.sleep(2)
            idle = (cpu(process.pid) - before) / 2
            whole, ram = resident(process.pid)
        finally:
            process.terminate()
            process.wait()
    print(
        f"resident {whole / 1024:.1f} MiB: guest pages {ram / 1024:.1f}, the monitor's own {(whole - ram) / 1024:.1f}"
    )
    print(f"idle guest uses {idle:.1%} of a processor")


def cpu(pid: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
