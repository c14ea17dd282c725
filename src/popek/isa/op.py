"""What one instruction is: encoding, assembly text and meaning, stated together.

Holds the records, no instruction itself.

    @op("0000000 rs2 rs1 000 rd 0110011", "add rd, rs1, rs2")
    def add(rs1: u64, rs2: u64) -> u64:
        return rs1 + rs2

A meaning finds its operands by parameter name: `h` (the hart), `rs1 rs2 rs3` (integer register values), `frs1 frs2
frs3` (FP register bits), `imm` (sign-extended for `imm[...]`, zero-extended for `uimm[...]`), `pc`, `next_pc`, `rm`.
Its result goes to `rd` (or `frd`).

A 16-bit form is an `Expansion`: another spelling of an operation, with no meaning of its own.
"""
from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from popek.isa.encoding import Encoding, parse
from popek.lang import Function, fn

#: What an engine has to do around the meaning. Decoded.flags holds the position in this tuple.
KINDS = ("illegal", "alu", "load", "store", "amo", "branch", "jump", "jump_register", "csr", "system", "fp", "hint",
         "vector")

PARAMETERS = ("h", "rs1", "rs2", "rs3", "frs1", "frs2", "frs3", "imm", "pc", "next_pc", "rm")

#: Assembly operand names that are views of the immediate.
IMMEDIATES = ("imm", "uimm", "target", "upper", "shamt", "csr", "zimm", "pred", "succ", "constant")

_SPLIT = re.compile(r"[\s,()]+")


@dataclass(frozen=True)
class Op:
    """One operation. Calling it calls its meaning."""

    name: str
    assembly: str
    encoding: Encoding
    kind: str
    fn: Callable[..., Any]
    parameters: tuple[str, ...]
    module: str

    @property
    def mnemonic(self) -> str:
        """The first word of the assembly text."""
        return self.assembly.split()[0]

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the assembly operands, in order."""
        return operands(self.assembly)

    @property
    def result(self) -> str:
        """Where the result goes: "rd", "frd" or "" when there is none."""
        for name in ("rd", "frd"):
            if self.encoding.field(name):
                return name
        return ""

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args)


@dataclass(frozen=True)
class Expansion:
    """A 16-bit form: which operation it stands for, and where that operation's operands come from."""

    assembly: str
    encoding: Encoding
    of: Op
    operands: tuple[tuple[str, str | int], ...]     # field of the operation <- field of this form, or a constant
    nonzero: tuple[str, ...]                        # fields that must not be zero: those words are reserved

    @property
    def mnemonic(self) -> str:
        """The first word of the assembly text."""
        return self.assembly.split()[0]


def operands(assembly: str) -> tuple[str, ...]:
    """The operand names of an assembly line: "lw rd, imm(rs1)" -> ("rd", "imm", "rs1")."""
    return tuple(part for part in _SPLIT.split(assembly)[1:] if part)


def op(encoding: str, assembly: str, kind: str = "alu") -> Callable[[Callable[..., Any]], Op]:
    """Declare the decorated function, a function of the typed subset, as the meaning of an instruction."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}")

    def declare(function: Callable[..., Any]) -> Op:
        subset = function if isinstance(function, Function) else fn(function)
        parameters = tuple(inspect.signature(function).parameters)
        if unknown := set(parameters) - set(PARAMETERS):
            raise ValueError(f"{function.__name__}: no operand is called {', '.join(sorted(unknown))}")
        return Op(function.__name__, assembly, parse(encoding), kind, subset, parameters, function.__module__)

    return declare


def expand(encoding: str, assembly: str, of: Op, into: str, nonzero: str = "") -> Expansion:
    """Declare a 16-bit form: `into` is the operand list of `of`, written in this form's fields and constants."""
    values = tuple(part for part in _SPLIT.split(into) if part)
    if len(values) != len(of.operands):
        raise ValueError(f"{assembly}: {of.assembly} takes {len(of.operands)} operands")
    form = parse(encoding)
    pairs: list[tuple[str, str | int]] = []
    for name, value in zip(of.operands, values, strict=True):
        target = "imm" if name in IMMEDIATES else name
        if re.fullmatch(r"x?\d+", value):
            pairs.append((target, int(value.lstrip("x"))))
        elif form.field(value):
            pairs.append((target, value))
        else:
            raise ValueError(f"{assembly}: no field {value}")
    return Expansion(assembly, form, of, tuple(pairs), tuple(nonzero.split()))


def declared(module: ModuleType) -> list[Op]:
    """The operations of an extension's module, in the order written."""
    return [value for value in vars(module).values() if isinstance(value, Op) and value.module == module.__name__]


def expansions(module: ModuleType) -> list[Expansion]:
    """The 16-bit forms of an extension's module: its tuple FORMS."""
    return list(getattr(module, "FORMS", ()))
