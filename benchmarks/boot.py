"""A Linux kernel and a small initramfs, from process start to power-off: popek against QEMU, in turns.

    python benchmarks/boot.py --kernel Image --busybox busybox [-n 5] [--smp 1] [--popek 'popek boot'] [--no-qemu]
    python benchmarks/boot.py --kernel Image --initrd initrd.gz --expect TEXT ...

Kernel and busybox come from Debian's riscv64 packages linux-image-* and busybox-static; an initramfs of your own must
say TEXT and power off. Figures are user + system CPU seconds of the whole process tree, medians; the ratio is what to
quote.

`--times 100 --no-qemu --smp 4` is the hang test: a boot that does not end in --timeout seconds ends it, what it said is
shown, and whether its CPU time still grew.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import initramfs, interleaved, report

APPEND = "console=ttyS0 panic=-1"


@contextlib.contextmanager
def initrd(given: Path | None, busybox: Path | None) -> Iterator[str]:
    """The name of the initramfs: a file that is there, or one made of busybox for as long as it is needed."""
    if given is not None:
        yield str(given)
        return
    if busybox is None:
        raise SystemExit("give --busybox or --initrd")
    with tempfile.NamedTemporaryFile(suffix=".cpio") as made:
        made.write(initramfs(busybox))
        made.flush()
        yield made.name


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kernel", required=True, type=Path)
    p.add_argument("--busybox", type=Path)
    p.add_argument("--initrd", type=Path)
    p.add_argument("--expect", default="guest is up")
    p.add_argument("-n", "--times", type=int, default=5)
    p.add_argument("--smp", type=int, default=1)
    p.add_argument("--memory", default="512M")
    p.add_argument("--append", default=APPEND)
    p.add_argument("--popek", default=f"{sys.executable} -m popek boot")
    p.add_argument("--qemu", default="qemu-system-riscv64")
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--timeout", type=float, default=120)
    a = p.parse_args()
    with initrd(a.initrd, a.busybox) as initramfs_name:
        machine = ["--initrd", initramfs_name, "--append", a.append, "--memory", a.memory, "--smp", str(a.smp)]
        commands = {"popek": [*shlex.split(a.popek), str(a.kernel), *machine]}
        if not a.no_qemu:
            if not shutil.which(a.qemu):
                raise SystemExit(f"there is no {a.qemu}: apt install qemu-system-misc, or --no-qemu")
            machine = ["-initrd", initramfs_name, "-append", a.append, "-m", a.memory, "-smp", str(a.smp)]
            commands["qemu"] = [a.qemu, "-M", "virt", "-nographic", "-no-reboot", "-kernel", str(a.kernel), *machine]
        report(interleaved(commands, a.times, a.expect, a.timeout), "qemu")


if __name__ == "__main__":
    main()
