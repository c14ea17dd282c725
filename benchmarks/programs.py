"""Programs that nobody here wrote, on the bare machine: popek, QEMU and native code of gcc -O2, in turns.

    python benchmarks/programs.py FOLDER... [--build build/programs] [-n 3] [--only NAME,NAME] [--popek 'popek boot']

A FOLDER is a source tree that the user fetched: coremark (eembc/coremark), embench-iot (any version), or riscv-tests
(the benchmarks in it, Dhrystone among them). What is built for the bare machine has benchmarks/bare around it and
Debian's riscv64 glibc for memcpy, strlen, sqrt; it is built once, with so many repetitions that native code takes
about --native seconds. What does not link against so little is said and left out. Figures: user + system CPU seconds
of whole processes, medians. A program whose line on popek is not QEMU's, or that finds itself wrong, is an error.

    apt install qemu-system-misc gcc gcc-riscv64-linux-gnu
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from measure import Timed, timed

BARE = Path(__file__).resolve().parent / "bare"
GUEST = "riscv64-linux-gnu-"
BOTH = ["-O2", "-w", "-std=gnu99", "-fcommon", f"-I{BARE}"]
GUEST_FLAGS = ["-march=rv64gc", "-mabi=lp64d", "-mcmodel=medany", "-fno-pic", "-msmall-data-limit=0"]
LINK = ["-nostartfiles", "-static", "-no-pie", f"-Wl,--build-id=none,--no-warn-rwx-segments,-T,{BARE / 'link.ld'}"]
#: In riscv-tests/benchmarks; the others there need vectors, several harts, or measure nothing.
RISCV_TESTS = ("dhrystone", "median", "memcpy", "mm", "multiply", "qsort", "rsort", "spmv", "towers", "vvadd")
RENAMED = ["-Dmain=program_main", "-Dexit=program_exit", "-Dprintf=program_printf", "-DTIME", "-Dtime=program_time"]
HOST_FLAGS = ["-include", str(BARE / "host.h")]


class NotBuilt(Exception):
    """A compiler or linker failed, and what it said."""


class Program(NamedTuple):
    """What to compile, beside the driver."""

    name: str
    sources: tuple[Path, ...]
    flags: tuple[str, ...]
    scale: str  # macro of the number of repetitions; empty: the driver repeats
    driver: tuple[str, ...] = ()


def found(folder: Path) -> list[Program]:
    """The programs of a source tree."""
    if (folder / "core_list_join.c").is_file():
        names = "core_list_join core_main core_matrix core_state core_util".split()
        sources = [*(folder / f"{name}.c" for name in names), BARE / "core_portme.c"]
        flags = [f"-I{folder}", "-Dmain=program_main", "-DPERFORMANCE_RUN=1", "-DTOTAL_DATA_SIZE=2000"]
        return [Program("coremark", tuple(sources), tuple(flags), "ITERATIONS")]
    if (folder / "benchmarks" / "common").is_dir():
        return [tests_program(folder / "benchmarks", name) for name in RISCV_TESTS]
    if (folder / "support" / "beebsc.c").is_file():
        shared = [folder / "support" / "main.c", folder / "support" / "beebsc.c"]
        flags = (f"-I{folder / 'support'}", "-DWARMUP_HEAT=1", *RENAMED)
        return [
            Program(place.name, (*sorted(place.glob("*.c")), *shared), flags, "GLOBAL_SCALE_FACTOR")
            for place in sorted((folder / "src").iterdir())
        ]
    raise SystemExit(f"{folder} is neither coremark nor embench-iot nor riscv-tests")


def tests_program(folder: Path, name: str) -> Program:
    """One of riscv-tests; it starts with the same data each time."""
    sources = tuple(sorted((folder / name).glob("*.c")))
    flags = (f"-I{folder / 'common'}", "-DPREALLOCATE=0", "-fno-tree-loop-distribute-patterns", *RENAMED)
    return Program(name, sources, flags, "", ("-DRESTORED", *(["-DHAS_THREAD_ENTRY"] if name == "mm" else [])))


def command(arguments: list[str]) -> None:
    """Run it; what it said if it fails."""
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise NotBuilt(f"{shlex.join(arguments)}\n{done.stderr[-3000:]}")


def build(program: Program, out: Path, repeat: int, guest: bool) -> None:
    """Compile and link it for the bare machine or for the host."""
    prefix, flags = (GUEST, [*BOTH, *GUEST_FLAGS]) if guest else ("", [*BOTH, *HOST_FLAGS])
    scale = [f"-D{program.scale}={repeat}", f"-DCPU_MHZ={repeat}"] if program.scale else []
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for number, source in enumerate(program.sources):
            name = f"{folder}/{number}.o"
            command([f"{prefix}gcc", *flags, *program.flags, *scale, "-c", "-o", name, str(source)])
            if "-DRESTORED" in program.driver:
                changes = ["--rename-section", ".data=programdata", "--weaken-symbol=debug_printf"]
                command([f"{prefix}objcopy", *changes, name])
            objects.append(name)
        driver = [f"{prefix}gcc", *flags, *program.driver, f'-DNAME="{program.name}"']
        driver += [] if program.scale else [f"-DREPEAT={repeat}"]
        command([*driver, "-c", "-o", f"{folder}/driver.o", str(BARE / "driver.c")])
        start = [str(BARE / "start.S"), *LINK] if guest else []
        command([f"{prefix}gcc", *flags, *start, f"{folder}/driver.o", *objects, "-o", str(out), "-lm"])


def prepare(program: Program, folder: Path, native: float) -> int:
    """Build both, so that native code takes about `native` seconds; how often the program runs in them."""
    host, guest, note = (folder / f"{program.name}.{kind}" for kind in ("host", "elf", "json"))
    if note.is_file() and guest.is_file() and (known := json.loads(note.read_text()))["native"] == native:
        return int(known["repeat"])
    repeat = 1
    while True:
        build(program, host, repeat, guest=False)
        took = timed([str(host)]).cpu
        if took >= native / 2 or repeat > 1 << 28:
            break
        repeat = max(repeat + 1, int(repeat * min(native / max(took, 0.002), 20)))
    build(program, guest, repeat, guest=True)
    note.write_text(json.dumps({"native": native, "repeat": repeat}))
    return repeat


def line(run: Timed) -> str:
    """What the program said."""
    return "\n".join(text.strip() for text in run.output.splitlines() if text.strip())


def measured(commands: dict[str, list[str]], times: int) -> dict[str, list[Timed]]:
    """A B C A B C ..."""
    runs: dict[str, list[Timed]] = {kind: [] for kind in commands}
    for _ in range(times):
        for kind, arguments in commands.items():
            runs[kind].append(timed(arguments, 300))
    return runs


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--build", type=Path, default=Path("build/programs"))
    p.add_argument("-n", "--times", type=int, default=3)
    p.add_argument("--only", default="", help="names, with commas")
    p.add_argument("--native", type=float, default=0.1, help="seconds of native code")
    p.add_argument("--popek", default=f"{sys.executable} -m popek boot")
    p.add_argument("--qemu", default="qemu-system-riscv64", help="empty: without")
    a = p.parse_args()
    a.build.mkdir(parents=True, exist_ok=True)
    programs = {p.name: p for folder in reversed(a.folders) for p in reversed(found(folder.resolve()))}
    ratios: dict[str, list[float]] = {}
    wrong: list[str] = []
    left_out: list[str] = []
    for name, program in reversed(programs.items()):
        if a.only and name not in a.only.split(","):
            continue
        try:
            repeat = prepare(program, a.build, a.native)
        except NotBuilt as failure:
            print(f"{name:16} not built: {str(failure).splitlines()[-1]}", flush=True)
            left_out.append(name)
            continue
        elf = str(a.build / f"{name}.elf")
        commands = {"native": [str(a.build / f"{name}.host")]}
        if a.qemu:
            commands["qemu"] = [a.qemu, *"-M virt -bios none -nographic -no-reboot -kernel".split(), elf]
        commands["popek"] = [*shlex.split(a.popek), elf]
        runs = measured(commands, a.times)
        cpu = {kind: statistics.median(run.cpu for run in found) for kind, found in runs.items()}
        said = {kind: line(found[-1]) for kind, found in runs.items()}
        for kind, found_runs in runs.items():
            if any(run.status for run in found_runs) or "WRONG" in said[kind]:
                wrong.append(f"{name} on {kind}: status {found_runs[-1].status}: {said[kind][-300:]}")
        if a.qemu and said["popek"] != said["qemu"]:
            wrong.append(f"{name}: popek says {said['popek'][-300:]!r}, qemu {said['qemu'][-300:]!r}")
        text = "  ".join(f"{kind} {seconds:6.3f}" for kind, seconds in cpu.items())
        for other in ("qemu", "native"):
            if other in cpu:
                ratios.setdefault(other, []).append(cpu["popek"] / cpu[other])
                text += f"  /{other} {ratios[other][-1]:6.2f}"
        print(f"{name:16} {text}  x{repeat}", flush=True)
    for other, values in ratios.items():
        print(f"geometric mean popek/{other}: {statistics.geometric_mean(values):.3f} over {len(values)} programs")
    if left_out:
        print(f"left out: {', '.join(left_out)}")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
