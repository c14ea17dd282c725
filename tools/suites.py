"""The test suites of RISC-V International, built for tests/suites: python tools/suites.py FOLDER... [--only rv64ui-p]

A FOLDER is a source tree that the user fetched: riscv-tests (riscv-software-src/riscv-tests, with riscv/riscv-test-env
in its env/), or riscv-arch-test (riscv-non-isa/riscv-arch-test, a version that has riscv-test-suite/rv64i_m). What the
machine has is built into --out, one ELF file each. An architecture test says its signature, as bytes, over the UART
of QEMU's virt machine; what is expected, in sig/, is what it says on QEMU. The tests then want to know where it is:

    POPEK_RISCV_TESTS=build/suites/riscv-tests pytest tests/suites/test_riscv_tests.py
    POPEK_ARCH_TESTS=build/suites/riscv-arch-test pytest tests/suites/test_arch_tests.py

    apt install gcc-riscv64-linux-gnu qemu-system-misc
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

GCC = "riscv64-linux-gnu-gcc"
QEMU = "qemu-system-riscv64"
SECONDS = 20  # for one test on QEMU
FLAGS = ["-static", "-mcmodel=medany", "-fvisibility=hidden", "-nostdlib", "-nostartfiles", "-no-pie",
         "-fno-pic", "-w", "-Wl,--build-id=none,--no-warn-rwx-segments"]  # fmt: skip

#: Folders of riscv-tests' isa/ that are about this machine, and what -march has beside rv64g.
RISCV_TESTS = {**dict.fromkeys("rv64ui rv64um rv64ua rv64uf rv64ud rv64uc rv64mi rv64si rv64ssvnapot".split(), ""),
               "rv64uzba": "_zba", "rv64uzbb": "_zbb", "rv64uzbc": "_zbc", "rv64uzbs": "_zbs",
               "rv64uzicond": "", "rv64mzicbo": "_zicbom_zicboz"}  # fmt: skip
#: Zicond for an assembler that does not know it.
ZICOND = """
#ifdef __ASSEMBLER__
.macro czero.eqz rd, rs1, rs2
    .insn r 0x33, 5, 7, \\rd, \\rs1, \\rs2
.endm
.macro czero.nez rd, rs1, rs2
    .insn r 0x33, 7, 7, \\rd, \\rs1, \\rs2
.endm
#endif
"""

#: Folders of riscv-arch-test's rv64i_m, and this machine as the tests' conditions want to see it.
ARCH_TESTS = "I M A B C F D Zifencei CMO privilege pmp64".split()
ISA = "RV64IMAFDCSUZicbom_Zicboz_Zicsr_Zifencei_Zba_Zbb_Zbc_Zbs"
EXTENSION = re.compile("Z[a-z0-9]+|[A-Z]")
TRUE = ("hw_data_misaligned_support:=True",)
#: What is wrong to expect: a PMP entry covers pages here (Privileged ISA, "Physical Memory Protection": the grain).
GRAIN = re.compile("pmp64-pmp64-(CFG|NA4|NAPOT|TOR)")
QEMU_7 = {"B-ctzw-01": "QEMU before 8.0 counts the zeros of 64 bits"}

#: The model-specific macros of riscv-arch-test ("Test Format Specification"), for a UART and a test finisher.
#: The mask is the default less breakpoints, of which QEMU 7.2 does not give the address.
MODEL = """
#define SET_REL_TVAL_MSK 0xb0f3
#define RVMODEL_BOOT
#define RVMODEL_IO_INIT
#define RVMODEL_IO_WRITE_STR(scratch, text)
#define RVMODEL_IO_ASSERT_GPR_EQ(scratch, register, value)
#define RVMODEL_IO_ASSERT_SFPR_EQ(scratch, register, value)
#define RVMODEL_IO_ASSERT_DFPR_EQ(scratch, register, value)
#define RVMODEL_DATA_BEGIN .balign 16; .global begin_signature; begin_signature:
#define RVMODEL_DATA_END .balign 16; .global end_signature; end_signature:
#define RVMODEL_HALT la t0, begin_signature; la t1, end_signature; li t2, 0x10000000; \\
    1: lbu t3, 0(t0); sb t3, 0(t2); addi t0, t0, 1; bltu t0, t1, 1b; \\
    li t0, 0x5555; li t1, 0x100000; sw t0, 0(t1); 2: j 2b
"""
LINK = """
ENTRY(rvtest_entry_point)
SECTIONS {
    . = 0x80000000;
    .text : { *(.text.init) *(.text) *(.text.*) }
    . = ALIGN(4096);
    .data : { *(.data) *(.data.*) *(.rodata*) *(.bss*) }
    /DISCARD/ : { *(.note.*) *(.riscv.attributes) }
}
"""


class LeftOut(Exception):
    """Why a program is not built, or not expected to say anything."""


class Program(NamedTuple):
    """What the compiler is told, beside FLAGS."""

    name: str
    arguments: list[str]
    left_out: str = ""


def run(arguments: list[str]) -> None:
    """Run it; its first complaint if it fails."""
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        said = re.search(r"\b(?:[Ee]rror|relocation|undefined)\b.*", done.stderr)
        raise LeftOut(said[0] if said else done.stderr[-80:].strip())


def riscv_tests(folder: Path, scratch: Path) -> Iterator[Program]:
    """The programs that the Makefrag of each folder names: `p` on physical memory, `v` in a small virtual one."""
    env, macros = folder / "env", folder / "isa" / "macros" / "scalar"
    if not (env / "v" / "vm.c").is_file():
        raise SystemExit(f"{env} is empty: riscv/riscv-test-env belongs there (git submodule update --init)")
    (scratch / "zicond.h").write_text(ZICOND)
    kernel = [str(env / "v" / "entry.S"), *map(str, sorted((env / "v").glob("*.c")))]
    for place, more in RISCV_TESTS.items():
        sources = folder / "isa" / place
        names = (sources / "Makefrag").read_text() if sources.is_dir() else ""
        for kind in (kind for kind in "pv" if f"{place}_{kind}_tests" in names):
            for source in sorted(path for path in sources.glob("*.S") if path.stem in names.split()):
                name = f"{place}-{kind}-{source.stem}"
                entropy = f"-DENTROPY={zlib.crc32(name.encode()) >> 4:#x}"
                extra = [entropy, "-std=gnu99", "-O2", "-fno-builtin", *kernel] if kind == "v" else []
                yield Program(name, [
                    f"-march=rv64g{more}", "-mabi=lp64d", "-include", f"{scratch}/zicond.h", f"-I{env / kind}",
                    f"-I{macros}", f"-T{env / kind / 'link.ld'}", *extra, str(source)])  # fmt: skip


def arch_tests(folder: Path, scratch: Path) -> Iterator[Program]:
    """The programs of rv64i_m whose conditions this machine meets, with the macros that come of them."""
    (scratch / "model_test.h").write_text(MODEL)
    (scratch / "link.ld").write_text(LINK)
    suite = folder / "riscv-test-suite"
    for place in ARCH_TESTS:
        for source in sorted((suite / "rv64i_m" / place / "src").glob("*.S")):
            text, name = source.read_text(errors="replace"), f"{place}-{source.stem}"
            extensions, macros = wanted(text), defined(text)
            if GRAIN.match(name):
                yield Program(name, [], "borders of PMP regions between the instructions of a page")
            elif not extensions or not macros:
                yield Program(name, [], "extensions that this machine has not")
            else:
                many = [name for name in extensions if len(name) > 1]
                march = "_".join(["rv64" + "".join(name for name in extensions if len(name) == 1), *many]).lower()
                flen = [f"-DFLEN={64 if 'D' in extensions else 32}"] if "F" in extensions else []
                yield Program(name, [
                    f"-march={march}", "-mabi=lp64", "-DXLEN=64", *flen, *(f"-D{macro}" for macro in macros),
                    f"-I{scratch}", f"-I{suite / 'env'}", f"-T{scratch / 'link.ld'}", str(source)])  # fmt: skip


def wanted(text: str) -> list[str]:
    """Extensions that a test is to be assembled for: the last of RVTEST_ISA's choices that the machine has."""
    has = set(EXTENSION.findall(ISA[4:]))
    choices = [choice for found in re.findall(r'RVTEST_ISA\("(.*?)"\)', text) for choice in found.split(",")]
    fit = [names for choice in choices if set(names := EXTENSION.findall(choice.strip()[4:])) <= has]
    return fit[-1] if fit else []


def defined(text: str) -> dict[str, None]:
    """What the cases of a test define whose conditions are true: "NAME=VALUE" each."""
    found: dict[str, None] = {}
    for case in re.findall(r'RVTEST_CASE *\(.*?"//(.*?)"', text):
        parts = [part.strip() for part in case.split(";")]
        checks = [part.removeprefix("check ") for part in parts if part.startswith("check ")]
        if all(check in TRUE or (m := re.fullmatch(r"ISA:=regex\((.*)\)", check)) and re.match(m[1], ISA)
               for check in checks):  # fmt: skip
            found |= dict.fromkeys(part.removeprefix("def ") for part in parts if part.startswith("def "))
    return found


def expect(elf: Path) -> None:
    """Put down what a program says on QEMU."""
    signature = elf.parent / "sig" / elf.name
    signature.unlink(missing_ok=True)
    if elf.name in QEMU_7 and re.search(r"version [1-7]\.", subprocess.check_output([QEMU, "--version"], text=True)):
        raise LeftOut(f"{elf.name}: {QEMU_7[elf.name]}")
    command = [QEMU, *"-M virt -cpu rv64,h=off -m 32 -bios none -display none -monitor none -serial".split()]
    try:
        subprocess.run([*command, f"file:{signature}", "-kernel", str(elf)], timeout=SECONDS, check=True,
                       capture_output=True)  # fmt: skip
    except subprocess.SubprocessError as problem:
        signature.unlink(missing_ok=True)
        why = "does not end" if isinstance(problem, subprocess.TimeoutExpired) else "fails"
        raise LeftOut(f"{elf.name} {why} on QEMU") from None


def build(programs: list[Program], out: Path, then: Callable[[Path], None] | None, jobs: int) -> int:
    """Make the files; how many there are. What is left out is said."""

    def one(program: Program) -> str:
        elf = out / program.name
        elf.unlink(missing_ok=True)
        try:
            if program.left_out:
                raise LeftOut(program.left_out)
            run([GCC, *FLAGS, *program.arguments, "-o", str(elf)])
            if then:
                then(elf)
        except LeftOut as why:
            elf.unlink(missing_ok=True)
            return str(why)
        return ""

    with ThreadPoolExecutor(jobs) as pool:
        problems = list(pool.map(one, programs))
    whys = Counter((program.name.split("-")[0], why) for program, why in zip(programs, problems, strict=True) if why)
    for (place, why), count in whys.items():
        print(f"left out: {count} of {place}: {why}")
    return problems.count("")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", nargs="+", type=Path)
    p.add_argument("--out", type=Path, default=Path("build/suites"))
    p.add_argument("--only", default="", help="programs whose name begins with this")
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    a = p.parse_args()
    for folder in (folder.resolve() for folder in a.folder):
        arch = (folder / "riscv-test-suite" / "rv64i_m").is_dir()
        if not arch and not (folder / "isa" / "rv64ui").is_dir():
            raise SystemExit(f"{folder} is neither riscv-tests nor a riscv-arch-test with riscv-test-suite/rv64i_m")
        for tool, package in ((GCC, "gcc-riscv64-linux-gnu"), *([(QEMU, "qemu-system-misc")] if arch else [])):
            if not shutil.which(tool):
                raise SystemExit(f"{tool} is missing: apt install {package}")
        out = a.out.resolve() / ("riscv-arch-test" if arch else "riscv-tests")
        (out / "sig" if arch else out).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            programs = [program for program in (arch_tests if arch else riscv_tests)(folder, Path(scratch))
                        if program.name.startswith(a.only)]  # fmt: skip
            made = build(programs, out, expect if arch else None, a.jobs)
        print(f"{out}: {made} of {len(programs)} programs", flush=True)
        if not made:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
