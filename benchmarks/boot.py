"""Debian's kernel and a busybox initramfs, from process start to power-off: popek against QEMU, in turns.

    python benchmarks/boot.py --kernel vmlinux --busybox busybox [-n 5] [--smp 1] [--popek 'popek boot'] [--no-qemu]

Kernel and busybox come from Debian's riscv64 packages linux-image-* and busybox-static. Figures are user + system CPU
seconds of the whole process tree, medians; the ratio is what to quote. `--times 20 --no-qemu --smp 4` is the hang test.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from measure import initramfs, interleaved, report

APPEND = "console=ttyS0 panic=-1"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kernel", required=True, type=Path)
    p.add_argument("--busybox", required=True, type=Path)
    p.add_argument("-n", "--times", type=int, default=5)
    p.add_argument("--smp", type=int, default=1)
    p.add_argument("--memory", default="512M")
    p.add_argument("--append", default=APPEND)
    p.add_argument("--popek", default=f"{sys.executable} -m popek boot")
    p.add_argument("--qemu", default="qemu-system-riscv64")
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--timeout", type=float, default=120)
    a = p.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".cpio") as initrd:
        initrd.write(initramfs(a.busybox))
        initrd.flush()
        machine = ["--initrd", initrd.name, "--append", a.append, "--memory", a.memory, "--smp", str(a.smp)]
        commands = {"popek": [*shlex.split(a.popek), str(a.kernel), *machine]}
        if not a.no_qemu:
            if not shutil.which(a.qemu):
                raise SystemExit(f"there is no {a.qemu}: apt install qemu-system-misc, or --no-qemu")
            machine = ["-initrd", initrd.name, "-append", a.append, "-m", a.memory, "-smp", str(a.smp)]
            commands["qemu"] = [a.qemu, "-M", "virt", "-nographic", "-no-reboot", "-kernel", str(a.kernel), *machine]
        report(interleaved(commands, a.times, "guest is up", a.timeout), "qemu")


if __name__ == "__main__":
    main()
