"""Encoding strings: how the picture of an instruction word is read. Knows bits and fields, nothing about meanings.

A picture is a list of tokens from the most to the least significant bit, as in the tables of the RISC-V
Unprivileged ISA manual, chapter "RV32/64G Instruction Set Listings":

    0101        fixed bits                    rd rs1 rs2 rs3 frd frs1 frs2 frs3    five-bit register numbers
                                              vd vs1 vs2 vs3                       the same, of vector registers
    --          ignored bits                  rd' rs1' rs2' frd' frs2'             three-bit register numbers (x8..x15)
    rm aq rl vm 3, 1, 1, 1 bits               name[12|10:5]                        the named bits of a value
"""
from __future__ import annotations

import re
from dataclasses import dataclass

REGISTER_FIELDS = ("rd", "rs1", "rs2", "rs3", "frd", "frs1", "frs2", "frs3")
VECTOR_FIELDS = ("vd", "vs1", "vs2", "vs3")
_WIDTHS = {**dict.fromkeys((*REGISTER_FIELDS, *VECTOR_FIELDS), 5), **{name + "'": 3 for name in REGISTER_FIELDS},
           "rm": 3, "aq": 1, "rl": 1, "vm": 1}
_VALUE = re.compile(r"([a-z]\w*)\[([\d:|]+)\]$")


@dataclass(frozen=True)
class Piece:
    """`width` bits of the word, starting at bit `at`, are bits `to` and up of the field's value."""

    at: int
    width: int
    to: int


@dataclass(frozen=True)
class Field:
    """One operand of an encoding: where its bits lie in the word and how they make a value."""

    name: str
    pieces: tuple[Piece, ...]
    signed: bool = False      # the value's top bit is its sign (immediates called `imm`)
    base: int = 0             # added to the bits: 8 for three-bit register numbers

    @property
    def top(self) -> int:
        """The number of the value's highest bit plus one."""
        return max(piece.to + piece.width for piece in self.pieces)

    @property
    def bottom(self) -> int:
        """The number of the value's lowest encodable bit: what is below reads as zero."""
        return min(piece.to for piece in self.pieces)

    def extract(self, word: int) -> int:
        """The field's value in `word`, sign-extended where the format says so."""
        value = self.base
        for piece in self.pieces:
            value += (word >> piece.at & (1 << piece.width) - 1) << piece.to
        if self.signed and value >> self.top - 1:
            value -= 1 << self.top
        return value

    def insert(self, value: int) -> int:
        """The bits of a word that hold `value`; raises ValueError when it does not fit."""
        bits, word = value - self.base, 0
        covered = 0
        for piece in self.pieces:
            mask = (1 << piece.width) - 1
            word |= (bits >> piece.to & mask) << piece.at
            covered |= mask << piece.to
        low, high = (-(1 << self.top - 1), (1 << self.top - 1) - 1) if self.signed else (0, (1 << self.top) - 1)
        if not low <= bits <= high or bits & ((1 << self.top) - 1) & ~covered:
            raise ValueError(f"{value} does not fit {self.name}")
        return word


@dataclass(frozen=True)
class Encoding:
    """A word belongs to this encoding when `word & mask == match`."""

    text: str
    mask: int
    match: int
    length: int                 # bytes
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field | None:
        """The field of that name, or None."""
        return next((field for field in self.fields if field.name == name), None)


def parse(text: str) -> Encoding:
    """Read an encoding picture."""
    tokens: list[tuple[str, int]] = []
    for token in text.split():
        tokens.append((token, _width(token)))
    total = sum(width for _, width in tokens)
    if total not in (16, 32):
        raise ValueError(f"encoding is {total} bits wide: {text}")
    mask = match = 0
    pieces: dict[str, list[Piece]] = {}
    at = total
    for token, width in tokens:
        at -= width
        if token[0] in "01":
            mask |= (1 << width) - 1 << at
            match |= int(token, 2) << at
        elif token[0] != "-":
            name, parts = _parts(token, width)
            position = at + width
            for high, low in parts:
                position -= high - low + 1
                pieces.setdefault(name, []).append(Piece(position, high - low + 1, low))
    fields = tuple(Field(name, tuple(found), signed=name == "imm", base=8 if name.endswith("'") else 0)
                   for name, found in pieces.items())
    return Encoding(text, mask, match, total // 8, fields)


def _width(token: str) -> int:
    if set(token) <= {"0", "1"} or set(token) == {"-"}:
        return len(token)
    if token in _WIDTHS:
        return _WIDTHS[token]
    _, parts = _parts(token, 0)
    return sum(high - low + 1 for high, low in parts)


def _parts(token: str, width: int) -> tuple[str, list[tuple[int, int]]]:
    if token in _WIDTHS:
        return token, [(width - 1, 0)]
    found = _VALUE.match(token)
    if not found:
        raise ValueError(f"unknown token {token!r} in an encoding")
    parts = []
    for part in found[2].split("|"):
        high, _, low = part.partition(":")
        parts.append((int(high), int(low or high)))
    return found[1], parts
