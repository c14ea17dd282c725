"""Small RISC-V ELF files for tests, so that no test needs a cross compiler. No assertions here."""

from __future__ import annotations

import struct

RAM = 0x8000_0000

LI_T0_FINISHER = (0x001002B7,)  # lui t0, 0x100: the test finisher's address


def words(*instructions: int) -> bytes:
    """Machine code from 32-bit instruction words."""
    return b"".join(struct.pack("<I", w) for w in instructions)


def lui(rd: int, value: int) -> int:
    return (value & 0xFFFFF) << 12 | rd << 7 | 0x37


def addi(rd: int, rs1: int, value: int) -> int:
    return (value & 0xFFF) << 20 | rs1 << 15 | rd << 7 | 0x13


def store(kind: int, rs2: int, rs1: int, offset: int = 0) -> int:
    """kind 0 sb, 1 sh, 2 sw, 3 sd."""
    return (offset >> 5 & 0x7F) << 25 | rs2 << 20 | rs1 << 15 | kind << 12 | (offset & 31) << 7 | 0x23


def load(kind: int, rd: int, rs1: int, offset: int = 0) -> int:
    """kind 0 lb, 1 lh, 2 lw, 3 ld, 4 lbu."""
    return (offset & 0xFFF) << 20 | rs1 << 15 | kind << 12 | rd << 7 | 0x03


def andi(rd: int, rs1: int, value: int) -> int:
    return (value & 0xFFF) << 20 | rs1 << 15 | 7 << 12 | rd << 7 | 0x13


def branch(kind: int, rs1: int, rs2: int, offset: int) -> int:
    """kind 0 beq, 1 bne."""
    o = offset & 0x1FFF
    return (
        (o >> 12) << 31
        | (o >> 5 & 0x3F) << 25
        | rs2 << 20
        | rs1 << 15
        | kind << 12
        | (o >> 1 & 15) << 8
        | (o >> 11 & 1) << 7
        | 0x63
    )


HANG = 0x0000006F  # j .
WFI = 0x10500073
T0, T1, T2 = 5, 6, 7


def say(text: bytes) -> bytes:
    """Code that writes `text` to the UART."""
    code = [lui(T0, 0x10000)]
    for byte in text:
        code += [addi(T1, 0, byte), store(0, T1, T0)]
    return words(*code)


def finish(value: int) -> bytes:
    """Code that writes `value` (0x5555 off, 0x7777 reset, code << 16 | 0x3333 fail) to the test finisher and waits."""
    low = (value & 0xFFF) - (value & 0x800) * 2
    return words(lui(T0, 0x100), lui(T1, value - low >> 12), addi(T1, T1, low), store(2, T1, T0), WFI, 0xFFDFF06F)


def echo_until(byte: int) -> bytes:
    """Code that sends every received byte back, until `byte` came."""
    return words(
        lui(T0, 0x10000),
        load(4, T1, T0, 5),  # line status
        andi(T1, T1, 1),
        branch(0, T1, 0, -8),
        load(4, T1, T0, 0),
        store(0, T1, T0, 0),
        addi(T2, 0, byte),
        branch(1, T1, T2, -24),
    )


def elf(
    code: bytes,
    address: int = RAM,
    *,
    vaddr: int | None = None,
    entry: int | None = None,
    machine: int = 243,
    kind: int = 2,
    klass: int = 2,
    memsz: int | None = None,
    extra_headers: tuple[bytes, ...] = (),
) -> bytes:
    """An ELF file with one PT_LOAD segment."""
    vaddr = address if vaddr is None else vaddr
    entry = vaddr if entry is None else entry
    phnum = 1 + len(extra_headers)
    offset = 64 + 56 * phnum
    ident = b"\x7fELF" + bytes([klass, 1, 1]) + bytes(9)
    head = struct.pack("<16sHHIQQQIHHHHHH", ident, kind, machine, 1, entry, 64, 0, 0, 64, 56, phnum, 64, 0, 0)
    size = len(code) if memsz is None else memsz
    load_header = struct.pack("<IIQQQQQQ", 1, 5, offset, vaddr, address, len(code), size, 4096)
    return head + load_header + b"".join(extra_headers) + code


def linux_image(size: int = 0x2000, in_memory: int = 0x10_0000, code: bytes = b"") -> bytes:
    """A raw kernel with Linux's RISC-V boot header, `code` behind it."""
    head = struct.pack("<IIQQQI12x8s4sI", 0x0400006F, 0, 0x20_0000, in_memory, 0, 2, b"RISCV\0\0\0", b"RSC\x05", 0)
    return (head + code).ljust(size, b"\0")


def sections(
    data: bytes, extra: list[tuple[bytes, int, int, int, bytes]], symbols: list[tuple[str, int, int]]
) -> bytes:
    """An ELF file of `elf` with sections: `extra` (name, type, flags, address, content), and a table of symbols of
    functions (name, address, size)."""
    strings, table_ = b"\0", bytes(24)
    for name, value, size in symbols:
        table_ += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, value, size)
        strings += name.encode("utf-8", "surrogateescape") + b"\0"
    parts = [*extra, (b".symtab", 2, 0, 0, table_), (b".strtab", 3, 0, 0, strings)]
    names = b"\0" + b"".join(name + b"\0" for name, *_ in parts) + b".shstrtab\0"
    parts.append((b".shstrtab", 3, 0, 0, names))
    headers, at = bytes(64), len(data)
    for name, kind, flags, address, content in parts:
        link = len(parts) - 1 if kind == 2 else 0
        where = names.index(b"\0" + name + b"\0") + 1
        headers += struct.pack("<IIQQQQIIQQ", where, kind, flags, address, at, len(content), link, 1, 8, 24)
        data += content
        at += len(content)
    head = bytearray(data)
    struct.pack_into("<Q", head, 40, len(data))
    struct.pack_into("<HHH", head, 58, 64, len(parts) + 1, len(parts))
    return bytes(head) + headers
