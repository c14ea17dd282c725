"""How much more work two harts do than one: the same program of pure computation on each hart.

    python benchmarks/parallel.py [-n 5] [--rounds 400000000] [--engine auto] [--harts 2]
    python benchmarks/parallel.py --kernel Image --busybox busybox ...

On the bare machine every hart runs the same loop over memory of its own; throughput is work over wall time, without
the start. With a kernel (Debian's linux-image-* and busybox-static for riscv64) the work is processes of one Linux
guest: the same loop, and busybox's sha256sum; one process, then as many as harts, in turns. The first turn warms up and
does not count.

On an idle machine with as many processors as harts the ratio should be near their number (SPECIFICATION.md: 1.8 for
two). Where others use them as well, only the last figure means something: CPU time of the work alone against that of
all work together, times the number of harts, which is what they would reach with processors of their own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measure import cpu_ticks, initramfs

from tests import elves
from tests.vmm.guests import assemble, machine

PLACE, MEETING = 0x8100_0000, 0x8080_0000

TICKS = os.sysconf("SC_CLK_TCK")
LOOP = """
    loop:
        mul t0, t0, s2
        addi t0, t0, 1013
        srli t1, t0, 40
        andi t1, t1, 2040
        add t1, t1, s0
        ld t2, 0(t1)
        xor t2, t2, t0
        sd t2, 0(t1)
        addi s1, s1, -1
        bne s1, x0, loop
"""
#: What a process of a Linux guest does, by name.
WORK = {"loop": "/work", "sha256sum": "/bin/busybox sha256sum /data"}
HASHED = 96                    # MiB
APPEND = "console=ttyS0 quiet panic=-1"


class Timed(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float                 # of all threads


def guest(rounds: int) -> str:
    """A linear congruential generator that stores and loads; hart 0 powers off when all are done."""
    return f"""
        csrrs s11, mhartid, x0
        li s0, {PLACE:#x}
        slli t0, s11, 16
        add s0, s0, t0
        li s1, {rounds}
        li s2, 1103515245
        li s4, {MEETING:#x}
        addi s8, x0, 1
    {LOOP}
        amoadd.w.aqrl x0, s8, (s4)
        bne s11, x0, park
        lw s9, 8(s4)
    last:
        lw t0, 0(s4)
        blt t0, s9, last
        j off
    park:
        wfi
        j park
    """


def seconds(rounds: int, harts: int, engine: str) -> Timed:
    """From the first instruction to power-off."""
    with tempfile.TemporaryDirectory() as folder:
        with machine(Path(folder), guest(rounds), engine=engine, harts=harts) as made:
            made._memory.write(MEETING + 8, harts.to_bytes(4, "little"))
            began, used = time.monotonic(), time.process_time()
            made.start()
            if made.wait(300) is None:
                raise SystemExit(f"{harts} harts: not done after 300 s")
            return Timed(time.monotonic() - began, time.process_time() - used)


def program(rounds: int) -> bytes:
    """The loop as a program for Linux; its memory is one page of the stack."""
    text = f"""
        addi s0, sp, -2048
        srli s0, s0, 12
        slli s0, s0, 12
        li s1, {rounds}
        li s2, 1103515245
        addi t0, x0, 0
        {LOOP}
        addi a0, x0, 0
        addi a7, x0, 93
        ecall
    """
    start = 0x10000 + 64 + 56
    return elves.elf(assemble(text, start), start)


def script(times: int, harts: int) -> str:
    """For the guest's shell: work, alone and together, between two lines that say so."""
    lines = [f"/bin/busybox dd if=/dev/zero of=/data bs=1M count={HASHED} 2>/dev/null"]
    for name, command in WORK.items():
        alone, together = f"{command} >/dev/null", f"{command} >/dev/null & " * harts + "wait"
        for _ in range(times + 1):
            for kind, work in (("alone", alone), ("together", together)):
                lines += [f"echo begin {name} {kind}", work, f"echo end {name} {kind}"]
    return "\n".join(lines)


def linux(kernel: Path, busybox: Path, rounds: int, harts: int, engine: str, times: int) -> None:
    """Boot, measure, print."""
    with tempfile.NamedTemporaryFile(suffix=".cpio") as initrd:
        initrd.write(initramfs(busybox, script(times, harts), {"work": program(rounds)}))
        initrd.flush()
        popek = [sys.executable, "-m", "popek", "boot", str(kernel), "--initrd", initrd.name]
        command = [*popek, "--append", APPEND, "--memory", "512M", "--smp", str(harts), "--engine", engine]
        took = watched(command)
    for name in WORK:
        alone, together = (took.get(f"{name} {kind}", [])[1:] for kind in ("alone", "together"))
        if len(alone) != times or len(together) != times:
            raise SystemExit("the guest did not come to its end")
        report(f"Linux, {name}", alone, together, harts, engine)


def watched(command: list[str]) -> dict[str, list[Timed]]:
    """How long it was between the lines `begin what` and `end what`."""
    took: dict[str, list[Timed]] = {}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as guest:
        assert guest.stdout is not None
        began = Timed(0, 0)
        for line in guest.stdout:
            now = Timed(time.monotonic(), cpu_ticks(guest.pid) / TICKS)
            word, _, what = line.strip().partition(" ")
            if word == "begin":
                began = now
            elif word == "end":
                took.setdefault(what, []).append(Timed(now.wall - began.wall, now.cpu - began.cpu))
    return took


def report(what: str, alone: list[Timed], together: list[Timed], harts: int, engine: str) -> None:
    """One line of medians and what follows from them; the second ratio is what CPU time says."""
    one, all_ = (statistics.median(t.wall for t in runs) for runs in (alone, together))
    shortest = harts * min(t.wall for t in alone) / min(t.wall for t in together)
    used = harts * harts * statistics.median(t.cpu for t in alone) / statistics.median(t.cpu for t in together)
    print(f"{what} ({engine}): one hart {one:.3f} s, {harts} harts with as much work each {all_:.3f} s: throughput "
          f"x {harts * one / all_:.2f}; of the shortest x {shortest:.2f}; by CPU time x {used:.2f}")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", "--times", type=int, default=5)
    p.add_argument("--rounds", type=int, default=400_000_000)
    p.add_argument("--harts", type=int, default=2)
    p.add_argument("--engine", default="auto")
    p.add_argument("--kernel", type=Path)
    p.add_argument("--busybox", type=Path)
    a = p.parse_args()
    if bool(a.kernel) != bool(a.busybox):
        p.error("--kernel and --busybox go together")
    if a.kernel:
        linux(a.kernel, a.busybox, a.rounds, a.harts, a.engine, a.times)
        return
    alone, together = [], []
    for _ in range(a.times):
        alone.append(seconds(a.rounds, 1, a.engine))
        together.append(seconds(a.rounds, a.harts, a.engine))
    report("bare machine", alone, together, a.harts, a.engine)


if __name__ == "__main__":
    main()
