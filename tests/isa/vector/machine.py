"""One vector instruction and the machine around it: as data, made at random, executed here or elsewhere. Not a test."""

from __future__ import annotations

import ctypes
import mmap
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from popek.api import native
from popek.isa import ports
from popek.isa.fp import host_flags_enter, host_flags_leave
from popek.isa.hart import FS, ILLEGAL_INSTRUCTION, LOAD_PAGE_FAULT, STORE_PAGE_FAULT, VILL, Hart
from popek.isa.op import Op
from popek.isa.vector import accesses, table
from popek.lang import Trap, fn, invoke, objects, u64
from popek.lang.llvm import emit
from popek.lang.run import Runner

MEMORY, PAGE = 2048, 4096
#: Register numbers that instructions use.
RS1, RS2, RD = 10, 11, 12
QEMU = ["qemu-riscv64", "-cpu", "rv64,v=true,vlen=256,elen=64,vext_spec=v1.0"]
COMPILER = "riscv64-linux-gnu-gcc"


class Machine(ctypes.Structure):
    """`struct machine` of foreign.c."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in (
            "word", "vtype", "vl", "vstart", "vcsr", "fcsr", "x10", "x11", "x12", "f10", "f12", "base", "trap")),
        ("unused", ctypes.c_uint64 * 3), ("v", ctypes.c_uint8 * 1024), ("memory", ctypes.c_uint8 * MEMORY),
    ]  # fmt: skip


SIZE = ctypes.sizeof(Machine)
FAILED = 9


# -- elsewhere --


@cache
def program(folder: Path) -> str:
    """foreign.c, compiled; the path."""
    path = str(folder / "foreign")
    source = str(Path(__file__).with_name("foreign.c"))
    subprocess.run([COMPILER, "-O1", "-static", "-march=rv64gc", "-o", path, source], check=True)
    return path


def there_is_qemu() -> bool:
    """Can `elsewhere` work? QEMU 10 may refuse what is reserved and done here: a source read with two widths."""
    if not shutil.which(QEMU[0]) or not shutil.which(COMPILER):
        return False
    version = subprocess.run([QEMU[0], "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)", version)
    return found is not None and int(found[1]) < 10


def elsewhere(cases: bytes, folder: Path) -> bytes:
    """The machines after their instructions, by QEMU. Where it fails (its own assertions do), `trap` is FAILED."""
    found = b""
    while len(found) < len(cases):
        found += subprocess.run([*QEMU, program(folder)], input=cases[len(found) :], stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL).stdout  # fmt: skip
        if len(found) < len(cases):
            one = Machine.from_buffer_copy(cases, len(found))
            one.trap = FAILED
            found += bytes(one)
    return found


# -- here --


class Memory:
    """A page of the host's memory, outside of which an access faults: the ports of vector loads and stores."""

    def __init__(self) -> None:
        self.area = mmap.mmap(-1, PAGE)
        self.end = ctypes.addressof(ctypes.c_char.from_buffer(self.area)) + PAGE

    def load(self, h: Hart, addr: int, size: int) -> int:
        """ports.element_load"""
        if not self.end - PAGE <= addr <= self.end - size:
            h.trap_cause, h.trap_tval = LOAD_PAGE_FAULT, addr
            raise Trap(LOAD_PAGE_FAULT, addr)
        return int.from_bytes(ctypes.string_at(addr, size), "little")

    def store(self, h: Hart, addr: int, size: int, value: int) -> None:
        """ports.element_store"""
        if not self.end - PAGE <= addr <= self.end - size:
            h.trap_cause, h.trap_tval = STORE_PAGE_FAULT, addr
            raise Trap(STORE_PAGE_FAULT, addr)
        ctypes.memmove(addr, (value & (1 << 64) - 1).to_bytes(8, "little"), size)

    def view(self, h: Hart, addr: int, writing: int) -> int:
        """ports.element_view: sometimes."""
        return addr if addr & 64 and self.end - PAGE <= addr < self.end else 0


@fn(export=True)
def step(h: Hart, word: u64, run: u64) -> u64:
    """One instruction by the vector library's entry, with the host's FP unit set up."""
    host_flags_enter(h)
    trapped = invoke(u64, run, h, word)
    host_flags_leave(h)
    return trapped


def library(memory: Memory) -> tuple[Any, Callable[[Any, int], int]]:
    """The vector library as products use it, and a function that executes an instruction."""
    number = ctypes.c_uint64

    def load(h: int, addr: int, size: int, into: int) -> int:
        try:
            ctypes.memmove(into, memory.load(Hart.at(h), addr, size).to_bytes(8, "little"), 8)
        except Trap:
            return 1
        return 0

    def store(h: int, addr: int, size: int, value: int) -> int:
        try:
            memory.store(Hart.at(h), addr, size, value)
        except Trap:
            return 1
        return 0

    def view(h: int, addr: int, writing: int) -> int:
        return memory.view(Hart.at(h), addr, writing)

    outside = {f"popek_vector_{f.__name__}": ctypes.CFUNCTYPE(number, *[number] * f.__code__.co_argcount)(f)
               for f in (load, store, view)}  # fmt: skip
    code = native.vectors().link(outside)
    entry = code.address("popek.engine.vector_library.run")
    around = objects.build(emit([step], exports=[step])).link({}).function(step)
    return (code, outside), lambda h, word: around(h, word, entry)


def traps(run: Any, h: Hart, word: int) -> int:
    """The same in plain Python."""
    try:
        run(h, word)
    except Trap:
        return 1
    return 0


class Here:
    """Executes machines in plain Python, or as machine code."""

    def __init__(self, machine_code: bool) -> None:
        self.block = ctypes.create_string_buffer(4096)
        self.memory = Memory()
        self.run: Any
        if machine_code:
            self.keep, self.run = library(self.memory)
            self.hart = Hart.ctype()()
            self.argument: Any = ctypes.addressof(self.hart)
        else:
            memory = self.memory
            run = Runner({ports.element_load: memory.load, ports.element_store: memory.store,
                          ports.element_view: memory.view})[table.execute]  # fmt: skip
            self.run, self.hart = lambda h, word: traps(run, h, word), Hart()
            self.argument = self.hart

    def execute(self, case: bytes) -> bytes:
        """The machine after its instruction."""
        one, h = Machine.from_address(self.memory.end - SIZE), self.hart
        ctypes.memmove(ctypes.addressof(one), case, SIZE)
        ctypes.memmove(self.block, one.v, 1024)
        h.vector = ctypes.addressof(self.block)
        h.mstatus, h.vtype, h.vl, h.vstart = FS, one.vtype, one.vl, one.vstart
        h.vxsat, h.vxrm, h.fflags, h.frm = one.vcsr & 1, one.vcsr >> 1, one.fcsr & 31, one.fcsr >> 5
        h.x[RS1], h.x[RS2], h.x[RD], h.f[RS1], h.f[RD] = one.x10, one.x11, one.x12, one.f10, one.f12
        if one.base:
            h.x[RS1] = one.x10 + ctypes.addressof(one.memory) & (1 << 64) - 1
        h.trap_cause = 0
        one.trap = int(self.run(self.argument, one.word))
        if one.trap and h.trap_cause != ILLEGAL_INSTRUCTION:
            one.trap = 2
        ctypes.memmove(one.v, self.block, 1024)
        one.vtype, one.vl, one.vstart = h.vtype, h.vl, h.vstart
        one.vcsr, one.fcsr, one.x12, one.f12 = h.vxrm << 1 | h.vxsat, h.frm << 5 | h.fflags, h.x[RD], h.f[RD]
        return bytes(one)


# -- made at random --

_FLOATS = {
    32: (0, 1 << 31, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 1, 0x807FFFFF, 0x00800000,
         0x7F7FFFFF, 0x4F000000, 0x5F000000, 0x34000000),
    64: (0, 1 << 63, 0x3FF << 52, 0xBFF << 52, 0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, (0x7FF << 52) + 1, 1,
         (1 << 52) - 1, 1 << 52, (0x7FF << 52) - 1, 0x41E << 52, 0x43E << 52, 0x47EFFFFFE << 28, 0x36A << 52),
}  # fmt: skip


class Generator:
    """Machines with instructions out of `ops`; most are legal, if it is given how to tell."""

    def __init__(self, seed: int, ops: list[Op], here: Here | None = None) -> None:
        self.random, self.ops, self.here = random.Random(seed), ops, here

    def number(self, bits: int) -> int:
        """A likely interesting number."""
        pick = self.random.random()
        if pick < 0.35:
            return self.random.getrandbits(bits)
        if pick < 0.55 and bits in _FLOATS:
            return self.random.choice(_FLOATS[bits])
        if pick < 0.65 and bits in _FLOATS:      # numbers whose exponents are close to each other
            bias, fraction = ((127, 23), (1023, 52))[bits == 64]
            return self.random.getrandbits(1) << bits - 1 | bias + self.random.randrange(-4, 5) << fraction | \
                self.random.getrandbits(fraction) & self.random.choice((-1, -1 << fraction - 3))
        if pick < 0.8:
            return self.random.randrange(-9, 10) & (1 << bits) - 1
        half = 1 << bits - 1
        return self.random.choice((half, half - 1, 2 * half - 1, self.random.getrandbits(bits // 2)))

    def group(self, bits: int, size: int) -> bytes:
        """`size` bytes of such numbers."""
        return b"".join(self.number(bits).to_bytes(bits // 8, "little") for _ in range(size * 8 // bits))

    def fields(self, op: Op, lmul: int) -> int:
        """The word of an instruction: mostly one that is not reserved."""
        word = op.encoding.match
        for field in op.encoding.fields:
            match field.name:
                case "rs1" | "frs1":
                    value = RS1
                case "rs2":
                    value = RS2
                case "rd" | "frd":
                    value = RD
                case "vm":
                    value = self.random.randrange(3) > 0
                case "vd" | "vs1" | "vs2" | "vs3":
                    step = 1 << max(0, lmul + self.random.choice((0, 0, 0, 1, 1, 2)))
                    value = self.random.randrange(32)
                    if self.random.random() < 0.97:
                        value &= -step & 31
                case _:
                    value = self.random.getrandbits(field.top)
                    if field.signed:
                        value = (value ^ 1 << field.top - 1) - (1 << field.top - 1)
            word |= field.insert(value)
        return word

    def case(self) -> bytes:
        """One machine."""
        r, one = self.random, Machine()
        op = r.choice(self.ops)
        self.content(one)
        if op.module == accesses.__name__:
            self.addresses(one, op)
        tries = 1 if self.here is None or r.random() < 0.05 else 30
        for _ in range(tries):
            self.shape(one, op)
            if tries > 1 and Machine.from_buffer_copy(self.here.execute(bytes(one))).trap != 1:
                break
        return bytes(one)

    def content(self, one: Machine) -> None:
        """Registers."""
        r = self.random
        bits = r.choice((8, 16, 32, 32, 64, 64))
        one.v[:] = b"".join(r.randbytes(32) if r.random() < 0.2 else self.group(bits, 32) for _ in range(32))
        if r.random() < 0.5:
            one.v[:32] = r.randbytes(32)
        one.vcsr = r.getrandbits(3)
        one.fcsr = r.getrandbits(5) * r.getrandbits(1) | r.choice((0, 0, 0, 1, 2, 3, 4)) << 5
        if r.random() < 0.01:
            one.fcsr |= 5 << 5
        one.x10, one.x11 = self.number(64), self.number(64)
        one.x12, one.f12 = 0x1111222233334444, 0x5555666677778888
        one.f10 = self.number(64) if bits == 64 else self.number(32) | (0xFFFFFFFF << 32 if r.random() < 0.95 else 0)

    def addresses(self, one: Machine, op: Op) -> None:
        """Of a load or store: mostly inside memory."""
        r = self.random
        one.memory[:] = r.randbytes(MEMORY)
        one.base = 1
        one.x10 = r.randrange(300, MEMORY - 300) if r.random() < 0.7 else r.randrange(MEMORY - 300, MEMORY + 16)
        one.x11 = r.choice((0, 1, 2, 4, 8, 16, r.randrange(100), -1, -2, -3, -4)) & (1 << 64) - 1
        if op.encoding.field("rs2"):
            one.x10 = r.randrange(MEMORY // 2, MEMORY)
        if op.encoding.field("vs2"):
            bits = int(op.mnemonic.partition("ei")[2].partition(".")[0])
            one.x10 = r.randrange(MEMORY // 2)
            one.v[:] = b"".join(r.randrange(min(MEMORY, 1 << bits)).to_bytes(bits // 8, "little")
                                  for _ in range(8192 // bits))  # fmt: skip

    def shape(self, one: Machine, op: Op) -> None:
        """The instruction, vtype, vl and vstart."""
        r = self.random
        while True:
            size, lmul = r.randrange(4), r.randrange(-3, 4)
            if size <= 3 + min(lmul, 0) and not half_precision(op, size):
                break
        vlmax = (32 << 3 + lmul >> 3) >> size
        one.vtype = r.getrandbits(2) << 6 | size << 3 | lmul & 7
        one.vl = vlmax if r.random() < 0.5 else r.randrange(vlmax + 1)
        one.vstart = r.randrange(one.vl) if r.random() < 0.1 and one.vl else 0
        if r.random() < 0.01:
            one.vtype, one.vl, one.vstart = VILL, 0, 0
        if r.random() < 0.3:
            one.x10 = one.x10 if one.base else r.randrange(2 * vlmax)
        one.word = self.fields(op, lmul)


def half_precision(op: Op, size: int) -> bool:
    """Would it work on binary16, if that were there? QEMU 7.2 has it whenever it has vectors."""
    if not op.mnemonic.startswith(("vf", "vmf")) or op.mnemonic in ("vfirst.m",):
        return False
    if op.mnemonic in ("vfwcvt.f.x.v", "vfwcvt.f.xu.v"):
        return size == 0
    if op.mnemonic.startswith("vfncvt") and ".f.w" in op.mnemonic and ".f.f.w" not in op.mnemonic:
        return size == 0
    return size == 1


# -- compared --

SLIDE_UP, SCALAR, WHOLE = 0b001110, 0b010000, 0b100111     # funct6
WHOLE_REGISTERS, FAULT_ONLY_FIRST = 8, 16                  # lumop


def is_unit_stride(old: Machine, kind: int) -> bool:
    """Is it a load or store of that kind (lumop)?"""
    return bool(old.word & 0x5F == 7 and old.word >> 20 & 31 == kind and old.word >> 26 & 3 == 0)


def unchanged(was: bytes, here: bytes, there: bytes) -> bool:
    """Has `there` the old value wherever it is not that of `here`?"""
    return all(a in (b, c) for a, b, c in zip(there, here, was, strict=True))


def keeps_vstart(old: Machine) -> bool:
    """Where QEMU 7.2 does not reset vstart: nothing is to be done, moves of scalars, slides by more than vl.

    Of moves of whole registers with a vstart beyond them it dies.
    """
    whole = is_unit_stride(old, WHOLE_REGISTERS)
    return bool(old.vl == 0 or whole or old.word >> 26 in (SLIDE_UP, SCALAR, WHOLE))


def described(op: Op, one: Machine) -> str:
    """An instruction and what matters around it, in one line."""
    registers = [one.word >> shift & 31 for shift in (7, 20, 15)]
    return (f"{one.word:08x} {op.mnemonic} vd, vs2, vs1 {registers} vm {one.word >> 25 & 1} vtype {one.vtype:#x}"
            f" vl {one.vl} vstart {one.vstart} vcsr {one.vcsr} fcsr {one.fcsr:#x} x10 {one.x10:#x} f10 {one.f10:#x}")


def differences(before: bytes, mine: bytes, other: bytes) -> list[str]:
    """What is different, for people."""
    old, a, b = (Machine.from_buffer_copy(data) for data in (before, mine, other))
    found: list[str] = []
    if b.trap == FAILED or (b.trap == 2 and old.word >> 26 == WHOLE):
        return found
    # What faults behind the first element may leave a part of itself (here it does), in a load that then ends there
    partly = is_unit_stride(old, FAULT_ONLY_FIRST)
    for name, _ in Machine._fields_:
        x, y = getattr(a, name), getattr(b, name)
        if name in ("v", "memory"):
            for at in range(0, len(x), 32):
                rows = [bytes(z[at : at + 32]) for z in (getattr(old, name), x, y)]
                if rows[1] != rows[2] and not (partly and unchanged(*rows)):
                    lines = (row[::-1].hex() for row in rows)
                    found.append("{}{}: was   {}\n      here  {}\n      there {}".format(name, at // 32, *lines))
        elif name == "vstart" and a.vstart == 0 and y == old.vstart and not b.trap and keeps_vstart(old):
            continue
        elif name not in ("unused", "x10", "base", "word") and x != y:
            found.append(f"{name}: was {getattr(old, name):#x}, here {x:#x}, there {y:#x}")
    return found
