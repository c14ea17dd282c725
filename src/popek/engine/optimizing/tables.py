"""What the region compiler must know of the instruction set, in a form that loads in a few milliseconds.

Lives here: making that form from isa (`build`), and reading it: a decoder, and for each operation its kind, operands
and piece (snippets). The worker process needs it for every region, and must not import isa and lang for that.
"""

from __future__ import annotations

import marshal
from pathlib import Path
from typing import Any, NamedTuple

_VERSION = 1
_SLOTS = {"rd": "rd", "rs1": "rs1", "rs2": "rs2", "rs3": "rs3", "rm": "rm", "imm": "imm", "uimm": "imm"}
_SLOTS |= {"frd": "rd", "frs1": "rs1", "frs2": "rs2", "frs3": "rs3"}


class Layout(NamedTuple):
    """Offsets in the hart, and the pinned registers in the order of the parameters."""

    x: int
    f: int
    poll: int
    mstatus: int
    frm: int
    view: int
    pins: tuple[int, ...]


class Operation(NamedTuple):
    """One operation. `piece` is None if it must be executed the long way; `result` is rd, frd or nothing."""

    name: str
    kind: str
    parameters: tuple[str, ...]
    result: str
    rounds: bool  # has a rounding mode
    result_type: str
    source_type: str
    piece: tuple[str, ...] | None


class Instruction(NamedTuple):
    """One decoded instruction."""

    op: Operation
    length: int
    rd: int = 0
    rs1: int = 0
    rs2: int = 0
    rs3: int = 0
    rm: int = 0
    imm: int = 0


def _fields(encoding: Any) -> list[Any]:
    """Fields of an encoding: (name, [(at, width, to)], top or 0 if unsigned, base)."""
    return [
        (f.name, [(p.at, p.width, p.to) for p in f.pieces], f.top if f.signed else 0, f.base) for f in encoding.fields
    ]


def build() -> bytes:
    """The tables as bytes: needs isa, lang and LLVM, and takes half a second."""
    from popek.engine.optimizing import snippets
    from popek.engine.template.layout import PINS
    from popek.engine.tlb import E_VIEW
    from popek.isa.hart import Hart
    from popek.isa.table import FORMS, GATES, IDS, OPS

    x, f, poll, mstatus, frm, engine = (Hart.offset(n) for n in ("x", "f", "poll", "mstatus", "frm", "engine"))
    layout = (x, f, poll, mstatus, frm, engine + 8 * E_VIEW, PINS)

    pieces, declarations = snippets.build()
    operations: list[Any] = []
    rows: list[Any] = []
    for op in (*OPS, *GATES):
        result_type, source_type = snippets.formats(op)
        names = tuple(f.name for f in op.encoding.fields)
        operations.append(
            (op.name, op.kind, op.parameters, op.result, "rm" in names, result_type, source_type, pieces.get(op.name))
        )
        fields = [(_SLOTS[n.rstrip("'")], p, t, b) for n, p, t, b in _fields(op.encoding) if n.rstrip("'") in _SLOTS]
        rows.append((op.encoding.mask, op.encoding.match, op.encoding.length, IDS[op.name] - 1, fields, [], []))
    for form in FORMS:
        own = {name: (pieces_, top, base) for name, pieces_, top, base in _fields(form.encoding)}
        fields = [(_SLOTS[t], *own[s]) for t, s in form.operands if isinstance(s, str) and t in _SLOTS]
        constants = [(_SLOTS[t], s) for t, s in form.operands if isinstance(s, int) and t in _SLOTS]
        nonzero = [own[name][0] for name in form.nonzero]
        rows.append((form.encoding.mask, form.encoding.match, 2, IDS[form.of.name] - 1, fields, constants, nonzero))
    rows.sort(key=lambda row: -row[0].bit_count())  # the most specific first
    return marshal.dumps((_VERSION, layout, operations, rows, declarations))


def load() -> Tables:
    """The tables kept in the cache, made if need be."""
    import popek.isa
    from popek.lang.cache import fingerprint, kept

    here = Path(__file__).parent
    template = here.parent / "template"
    isa = Path(popek.isa.__file__).parent
    sources = (here / "tables.py", here / "snippets.py", template / "rules.py", template / "layout.py")
    key = fingerprint("region tables", isa, *sources, here.parent / "tlb.py")
    return Tables(kept(key, build))


class Tables:
    """The decoder and the operations."""

    def __init__(self, packed: bytes) -> None:
        version, layout, operations, rows, self.declarations = marshal.loads(packed)
        if version != _VERSION:
            raise ValueError("region tables of another version")
        self.layout = Layout(*layout)
        self.operations: list[Operation] = []
        for name, kind, parameters, result, rounds, result_type, source_type, piece in operations:
            lines = None if piece is None else tuple(piece)
            self.operations.append(Operation(name, kind, parameters, result, rounds, result_type, source_type, lines))
        self._rows: dict[int, list[Any]] = {}
        for row in rows:
            self._rows.setdefault(self._bucket(row[1]), []).append(row)
        self._known: dict[int, Instruction | None] = {}

    @staticmethod
    def _bucket(word: int) -> int:
        return word & 0x7F if word & 3 == 3 else 0x80 | word & 3 | word >> 11 & 0x1C

    def decode(self, word: int) -> Instruction | None:
        """The instruction in `word` (the upper half is ignored for a 16-bit one); None if it is illegal."""
        if word & 3 != 3:
            word &= 0xFFFF
        if word not in self._known:
            self._known[word] = self._decode(word)
        return self._known[word]

    def _decode(self, word: int) -> Instruction | None:
        for mask, match, length, number, fields, constants, nonzero in self._rows.get(self._bucket(word), ()):
            if word & mask != match:
                continue
            values = dict(constants)
            for slot, pieces, top, base in fields:
                value = 0
                for at, width, to in pieces:
                    value |= (word >> at & (1 << width) - 1) << to
                if top and value >> top - 1:
                    value -= 1 << top
                values[slot] = value + base
            for pieces in nonzero:
                if not any(word >> at & (1 << width) - 1 for at, width, _ in pieces):
                    return None
            return Instruction(self.operations[number], length, **values)
        return None
