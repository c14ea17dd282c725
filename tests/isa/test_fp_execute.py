"""Every F and D instruction compiled for the host against plain Python: registers, flags, status, traps."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import pytest

from popek.isa import d, f, fp, hart
from popek.isa.executing import executor_source, scope_name
from popek.isa.hart import FS, Hart
from popek.isa.op import Op, declared
from popek.isa.table import Decoded
from popek.lang import Trap, objects, source_fn, u32, u64
from popek.lang.llvm import emit
from popek.lang.run import Runner
from tests.isa.ieee import F32, F64, specials

OPS: list[Op] = [op for module in (f, d) for op in declared(module) if op.name not in ("flw", "fsw", "fld", "fsd")]
SCOPE: dict[str, Any] = {
    "__name__": __name__, "Decoded": Decoded, "Hart": Hart, "Trap": Trap, "u32": u32, "u64": u64, "FS": FS,
    "ILLEGAL_INSTRUCTION": hart.ILLEGAL_INSTRUCTION, "enter": fp.host_flags_enter, "leave": fp.host_flags_leave,
    **{scope_name(op): op.fn for op in OPS},
}  # fmt: skip
SCOPE["execute"] = source_fn("execute", executor_source(OPS), SCOPE)
STEP = """def step(h: Hart, d: Decoded) -> bool:
    trapped = False
    enter(h)
    try:
        execute(h, d)
    except Trap:
        trapped = True
    leave(h)
    return trapped
"""
step = source_fn("step", STEP, SCOPE, export=True)


@pytest.fixture(scope="module")
def native() -> Any:
    return objects.build(emit([step])).link().function(step)


def operand(dice: random.Random) -> int:
    kind = dice.randrange(6)
    if kind == 0:
        return dice.choice(specials(F64))
    if kind == 1:
        return dice.choice(specials(F32)) | fp.BOX
    if kind == 2:
        return dice.getrandbits(32) | fp.BOX
    if kind == 3:
        return F64.bias + dice.randint(-3, 70) << 52 | dice.getrandbits(52) | dice.getrandbits(1) << 63
    if kind == 4:
        return F32.bias + dice.randint(-3, 70) << 23 | dice.getrandbits(23) | dice.getrandbits(1) << 31 | fp.BOX
    return dice.getrandbits(64)


@pytest.mark.parametrize("number", range(1, len(OPS) + 1), ids=lambda number: OPS[number - 1].name)
def test_native_execution(native: Any, number: int) -> None:
    dice = random.Random(number)
    plain = Runner()[step]
    there, said = Hart.ctype()(), Decoded.ctype()()
    for _ in range(600):
        here, asked = Hart(), Decoded()
        asked.op, asked.length = number, 4
        asked.rd, asked.rs1, asked.rs2, asked.rs3 = (dice.randrange(8) for _ in range(4))
        asked.rm = dice.choice((0, 1, 2, 3, 4, 7, 7, 7, dice.randrange(8)))
        here.frm = dice.choice((0, 0, 0, 1, 2, 3, 4, dice.randrange(8)))
        here.fflags = dice.getrandbits(5)
        here.mstatus = dice.choice((FS, FS, 1 << 13, 2 << 13, 0))
        for i in range(8):
            here.f[i], here.x[i] = operand(dice), dice.choice((operand(dice), dice.getrandbits(dice.randint(1, 64))))
        here.x[0] = 0
        for name in ("op", "length", "rd", "rs1", "rs2", "rs3", "rm"):
            setattr(said, name, getattr(asked, name))
        for name in ("pc", "frm", "fflags", "mstatus"):
            setattr(there, name, getattr(here, name))
        there.f[:8], there.x[:8] = here.f[:8], here.x[:8]
        trapped = native(ctypes.addressof(there), ctypes.addressof(said))
        assert trapped == plain(here, asked)
        state = [(list(h.f[:8]), list(h.x[:8]), h.fflags, h.frm, h.mstatus, h.pc) for h in (there, here)]
        assert state[0] == state[1], [hex(asked.rm), asked.rs1, asked.rs2, asked.rs3]
