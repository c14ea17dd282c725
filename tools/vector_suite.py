"""Public vector tests, built for tests/suites: tools/vector_suite.py GENERATOR CONFIGS [--out FOLDER] [--only vadd]

GENERATOR is the program that `go build ./single` makes in a source tree of riscv-vector-tests (chipsalliance), CONFIGS
its folder configs/v. Each test computes with a vector instruction under many vtypes, lengths and masks. Here it hashes
every result, with the flags and vector CSRs behind it, and says the hash over the UART of QEMU's virt machine; what is
expected is what it says on QEMU. Where QEMU fails there is no test. Then:

    POPEK_VECTOR_TESTS=build/suites/vectors pytest tests/suites/test_vector_tests.py

    apt install gcc-riscv64-linux-gnu qemu-system-misc golang-go
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GCC = ["riscv64-linux-gnu-gcc", "-march=rv64gcv", "-mabi=lp64d", "-mcmodel=medany", "-static", "-nostdlib",
       "-nostartfiles", "-no-pie", "-w", "-Wl,-Ttext=0x80000000,--build-id=none,--no-warn-rwx-segments"]  # fmt: skip
QEMU = ["qemu-system-riscv64", "-M", "virt", "-cpu", "rv64,v=true,vlen=256,vext_spec=v1.0", "-bios", "none",
        "-display", "none", "-serial", "stdio", "-monitor", "none", "-m", "64M"]  # fmt: skip
GENERATE = ["-VLEN", "256", "-XLEN", "64", "-float16=false", "-testfloat3level", "1"]
SECONDS = 60  # for one test on QEMU

#: What the generated text includes. Scalar registers that it never sets get a value.
HEADER = """
#define RVTEST_RV64UVX
#define RVTEST_RV64UV
.macro SAVED function
  addi sp, sp, -64; sd ra, 0(sp); sd t0, 8(sp); sd t1, 16(sp); sd t2, 24(sp); sd t3, 32(sp); sd t4, 40(sp)
  call \\function
  ld ra, 0(sp); ld t0, 8(sp); ld t1, 16(sp); ld t2, 24(sp); ld t3, 32(sp); ld t4, 40(sp); addi sp, sp, 64
.endm
.macro MIX register
  xor t0, t0, \\register; mul t0, t0, t1; srli t2, t0, 29; xor t0, t0, t2
.endm
.macro BEGIN
.text
.globl _start
_start:
  li t0, 0x6600; csrs mstatus, t0; la sp, stack_end; li s0, 0x8123456789abcdef; j begin
start_mixing:
  la t4, hash; ld t0, 0(t4); li t1, 0x100000001b3; ret
hash_result:
  mv t3, ra; call start_mixing; mv ra, t3; la t3, resultdata
1: ld t4, 0(t3); MIX t4; addi t3, t3, 8; la t4, testdata; bltu t3, t4, 1b
  la t4, hash; sd t0, 0(t4); ret
hash_registers:
  mv t3, ra; call start_mixing; mv ra, t3
  .irp name, fcsr, vcsr, vl, vtype, vstart
  csrr t3, \\name; MIX t3
  .endr
  sd t0, 0(t4); ret
begin:
.endm
.macro SAY
  la t0, hash; ld t1, 0(t0); li t2, 60; li t3, 0x10000000
1: srl t0, t1, t2; andi t0, t0, 15; addi t0, t0, 48; li t4, 58; bltu t0, t4, 2f; addi t0, t0, 39
2: sb t0, 0(t3); addi t2, t2, -4; bgez t2, 1b
  li t0, 0x5555; li t1, 0x100000; sw t0, 0(t1); 3: j 3b
.endm
#define RVTEST_CODE_BEGIN BEGIN
#define TEST_CASE(number, register, value, code...) code; SAVED hash_result; SAY
#define TEST_PASSFAIL
#define RVTEST_CODE_END
#define RVTEST_DATA_BEGIN .balign 64; hash: .quad 0xcbf29ce484222325; .zero 4096; stack_end: .balign 64;
#define RVTEST_DATA_END
"""


class Builder:
    """Makes one test after another."""

    def __init__(self, generator: Path, configs: Path, out: Path) -> None:
        self.generator, self.configs, self.out = generator, configs, out
        (out / "riscv_test.h").write_text(HEADER)
        (out / "test_macros.h").write_text("")

    def build(self, name: str) -> str:
        """One test's ELF file and what QEMU says; the problem, if there is one."""
        source, elf, says = (self.out / f"{name}{end}" for end in (".S", ".elf", ".expected"))
        command = [str(self.generator), *GENERATE, "-configfile", str(self.configs / f"{name}.toml"), "-outputfile"]
        subprocess.run([*command, str(source)], check=True, stdout=subprocess.DEVNULL)
        text = re.sub(r"(?m)^# Generating tests for.*", "SAVED hash_result", source.read_text())
        source.write_text(re.sub(r"(?m)^# -+ TEST END .*", "SAVED hash_registers", text))
        made = subprocess.run([*GCC, "-I", str(self.out), "-o", str(elf), str(source)], capture_output=True, text=True)
        source.unlink()
        if made.returncode:
            return made.stderr.splitlines()[0]
        try:
            heard = subprocess.run([*QEMU, "-kernel", str(elf)], capture_output=True, timeout=SECONDS).stdout
        except subprocess.TimeoutExpired:
            heard = b""
        if not re.fullmatch(rb"[0-9a-f]{16}", heard):
            elf.unlink()
            return "QEMU does not come to its end"
        says.write_bytes(heard)
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path)
    parser.add_argument("configs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/suites/vectors"))
    parser.add_argument("--only", default="", help="beginning of the tests' names")
    options = parser.parse_args()
    names = sorted(path.stem for path in options.configs.glob(f"{options.only}*.toml"))
    if not names:
        print(f"{options.configs}: no tests", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    builder = Builder(options.generator.resolve(), options.configs, options.out)
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, problem in zip(names, pool.map(builder.build, names), strict=True):
            if problem:
                failed += 1
                print(f"{name}: {problem}")
    print(f"{len(names) - failed} tests built, {failed} not")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
