"""Does a file without any header hold RISC-V code at its beginning? A guess that keeps text, pictures and noise out.

Follows the first instructions as the processor would, up to a jump whose target is unknown. Only as much of the
encoding as tells code from noise; the real decoder is isa/table, which costs too much to import for this.
"""

from __future__ import annotations

ENOUGH = 48  # instructions that look right
A_FEW = 6  # before the code leaves our sight; noise seldom gets that far
SMALL = 64  # bytes: shorter files may be a jump and nothing else

_LOAD, _STORE, _BRANCH, _JALR, _JAL, _SYSTEM = 0x03, 0x23, 0x63, 0x67, 0x6F, 0x73
_FP_WIDTHS = (1, 2, 3, 4)
# Major opcode -> the funct3 values it has (unprivileged ISA, chapter "RV32/64G Instruction Set Listings").
_FUNCT3: dict[int, tuple[int, ...]] = {
    _LOAD: (0, 1, 2, 3, 4, 5, 6), 0x07: _FP_WIDTHS, 0x0F: (0, 1, 2), 0x13: tuple(range(8)), 0x17: tuple(range(8)),
    0x1B: (0, 1, 5), _STORE: (0, 1, 2, 3), 0x27: _FP_WIDTHS, 0x2F: (2, 3), 0x33: tuple(range(8)),
    0x37: tuple(range(8)), 0x3B: tuple(range(8)), _BRANCH: (0, 1, 4, 5, 6, 7), _JALR: (0,), _JAL: tuple(range(8)),
    _SYSTEM: (0, 1, 2, 3, 5, 6, 7), 0x43: tuple(range(8)), 0x47: tuple(range(8)), 0x4B: tuple(range(8)),
    0x4F: tuple(range(8)), 0x53: tuple(range(8)),
}  # fmt: skip
_FUNCT7 = {
    0x33: (0, 1, 0x20, 0x10, 0x05, 0x04, 0x30, 0x14, 0x24, 0x34), 0x3B: (0, 1, 0x20, 0x10, 0x04, 0x30),
}  # fmt: skip


def looks_like_code(data: memoryview) -> bool:
    """Whether the bytes can be executed from their beginning for a while."""
    at = 0
    seen: set[int] = set()
    while len(seen) < ENOUGH:
        if not 0 <= at <= len(data):
            return False
        if at in seen or at > len(data) - 2:  # a loop, or the end
            break
        seen.add(at)
        parcel = data[at] | data[at + 1] << 8
        step = _compressed(parcel) if parcel & 3 != 3 else _full(int.from_bytes(data[at : at + 4], "little"))
        if step is None:
            return False
        if step == 0:
            break
        at += step
    return len(seen) >= A_FEW or 0 < len(seen) and len(data) <= SMALL


def _full(word: int) -> int | None:
    """How far the pc moves after a 32-bit instruction: None if there is no such one, 0 if nobody can know."""
    opcode, funct3 = word & 0x7F, word >> 12 & 7
    if funct3 not in _FUNCT3.get(opcode, ()):
        return None
    if opcode in _FUNCT7 and word >> 25 not in _FUNCT7[opcode]:
        return None
    if opcode == _JAL:
        offset = (word >> 21 & 0x3FF) << 1 | (word >> 20 & 1) << 11 | (word >> 12 & 0xFF) << 12 | (word >> 31) << 20
        return (offset ^ 1 << 20) - (1 << 20)
    if opcode == _JALR:
        return 0
    if opcode == _SYSTEM and funct3 == 0 and word not in (0x00000073, 0x00100073, 0x30200073, 0x10200073, 0x10500073):
        return 4 if word >> 25 in (0x09, 0x0B, 0x0C) else None  # sfence.vma, sinval.vma, sfence.w.inval
    return 4


def _compressed(parcel: int) -> int | None:
    """The same of a 16-bit instruction ("C" extension, chapter "RVC Instruction Set Listings")."""
    quadrant, funct3 = parcel & 3, parcel >> 13
    if parcel == 0 or (quadrant == 0 and (funct3 == 4 or parcel < 0x20)):
        return None
    if quadrant == 1 and funct3 == 5:  # c.j
        bits = ((12, 11), (11, 4), (10, 9), (9, 8), (8, 10), (7, 6), (6, 7), (5, 3), (4, 2), (3, 1), (2, 5))
        offset = sum((parcel >> source & 1) << target for source, target in bits)
        return (offset ^ 1 << 11) - (1 << 11)
    if quadrant == 2 and funct3 == 4 and parcel & 0x7C == 0:  # c.jr, c.jalr, c.ebreak
        return 0 if parcel & 0xF80 else (2 if parcel == 0x9002 else None)
    return 2
