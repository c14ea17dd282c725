"""Random functions mean the same natively and as plain Python: expressions of every type, and nested control flow."""

from __future__ import annotations

import ctypes
import random

import pytest

from popek.lang import (
    Trap,
    bswap,
    clz,
    ctz,
    i8,
    i16,
    i32,
    i64,
    i128,
    popcount,
    rotl,
    rotr,
    sdiv,
    source_fn,
    srem,
    u8,
    u16,
    u32,
    u64,
    u128,
)
from tests.lang.helper import State, as_plain, library

TYPES = [u8, u16, u32, u64, u128, i8, i16, i32, i64, i128]
SCOPE = {t.name: t for t in TYPES} | {
    "clz": clz, "ctz": ctz, "popcount": popcount, "bswap": bswap, "rotl": rotl, "rotr": rotr, "sdiv": sdiv,
    "srem": srem, "State": State, "Trap": Trap, "__name__": "tests.random",
}  # fmt: skip
NUMBERS = [0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 1]  # fmt: skip


class Expressions:
    """Writes random expressions over a: u64 and b: i64."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)

    def literal(self, type_) -> str:
        value = self.r.choice([n for n in NUMBERS if n <= type_.mask])
        return f"{type_.name}({value})" if self.r.random() < 0.5 else f"{type_.name}({-value})"

    def leaf(self, type_) -> str:
        pick = self.r.random()
        if pick < 0.3:
            return self.literal(type_)
        return f"{type_.name}({self.r.choice('ab')})"

    def number(self, type_, depth: int) -> str:
        if depth == 0:
            return self.leaf(type_)
        pick = self.r.randrange(17)
        a = self.number(type_, depth - 1)
        if pick < 6:
            return f"({a} {'+-*&|^'[pick]} {self.number(type_, depth - 1)})"
        if pick == 6:
            return f"({a} {self.r.choice('+-*&|^')} {self.r.choice([1, 3, 100, -1, -8])})"
        if pick < 9:
            amount = str(self.r.randrange(type_.bits)) if self.r.random() < 0.5 else self.number(u8, 0)
            return f"({a} {'<<' if pick == 7 else '>>'} {amount})"
        if pick == 9:
            return f"({self.r.choice('-~')}{a})"
        if pick == 10:
            return f"({a} if {self.condition(depth - 1)} else {self.number(type_, depth - 1)})"
        if pick == 11 and type_ is not u128 and not type_.signed:
            return f"({a} {self.r.choice(['//', '%'])} ({self.number(type_, depth - 1)} | 1))"
        if pick == 12 and type_.signed and type_ is not i128:
            other = f"({self.number(type_, depth - 1)} & 0x3f | 1)"
            return f"{self.r.choice(['sdiv', 'srem'])}({a}, {other})"
        if pick == 13:
            return f"{self.r.choice(['clz', 'ctz', 'popcount', 'bswap'])}({a})"
        if pick == 14 and not type_.signed:
            return f"{self.r.choice(['rotl', 'rotr'])}({a}, {self.number(u8, 0)})"
        if pick == 15:
            return f"{self.r.choice(['min', 'max'])}({a}, {self.number(type_, depth - 1)})"
        other = self.r.choice(TYPES)
        return f"{type_.name}({self.number(other, depth - 1)})"

    def condition(self, depth: int) -> str:
        pick = self.r.randrange(5)
        if depth and pick == 0:
            return f"({self.condition(depth - 1)} {self.r.choice(['and', 'or'])} {self.condition(depth - 1)})"
        if depth and pick == 1:
            return f"(not {self.condition(depth - 1)})"
        type_ = self.r.choice(TYPES)
        op = self.r.choice(["==", "!=", "<", "<=", ">", ">="])
        return f"({self.number(type_, max(depth - 1, 0))} {op} {self.number(type_, max(depth - 1, 0))})"


def test_expressions() -> None:
    functions = []
    for seed in range(200):
        writer = Expressions(seed)
        type_ = writer.r.choice(TYPES)
        text = f"def e{seed}(a: u64, b: i64) -> u64:\n    return u64({writer.number(type_, 4)})\n"
        functions.append(source_fn(f"e{seed}", text, SCOPE))
    # opt=1: LLVM's own folding is not what is tested
    made = library(functions, opt=1)
    r = random.Random(1)
    for function in functions:
        call = made.function(function)
        for _ in range(12):
            a = r.choice([r.choice(NUMBERS), r.getrandbits(64), r.getrandbits(8)])
            b = i64(r.choice([r.choice(NUMBERS), r.getrandbits(64), -r.getrandbits(6)]))
            assert call(a, b) == function(a, b), (function.symbol, hex(a), b)


class Statements:
    """Writes random nested statements over u64 variables a, b, c (and d, not assigned on every path)."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.lines: list[str] = []
        self.loops = 0

    def value(self) -> str:
        name = self.r.choice("abc")
        pick = self.r.randrange(7)
        if pick == 0:
            return str(self.r.randrange(100))
        if pick == 1:
            return f"({name} ^ h.x[{self.r.choice('abc')} & 31])"
        if pick == 2:
            return f"child(h, {name})"
        return f"({name} {self.r.choice('+-*^')} {self.r.choice('abc')} + {self.r.randrange(9)})"

    def condition(self) -> str:
        return (
            f"({self.r.choice('abc')} >> {self.r.randrange(8)}) & 3 {self.r.choice(['==', '!='])} {self.r.randrange(4)}"
        )

    def block(self, pad: str, depth: int, loop: bool, protected: bool) -> None:
        for _ in range(self.r.randrange(1, 4)):
            self.statement(pad, depth, loop, protected)

    def statement(self, pad: str, depth: int, loop: bool, protected: bool) -> None:
        pick = self.r.randrange(14) if depth else self.r.randrange(4)
        put = self.lines.append
        if pick < 3:
            put(f"{pad}{self.r.choice('abc')} = {self.value()}")
        elif pick == 3:
            put(f"{pad}h.x[{self.r.choice('abc')} & 31] += {self.value()}")
        elif pick < 7:
            both = self.r.random() < 0.3
            test = f"{self.condition()} {self.r.choice(['and', 'or'])} {self.condition()}" if both else self.condition()
            put(f"{pad}if {test}:")
            self.block(pad + "    ", depth - 1, loop, protected)
            if self.r.random() < 0.6:
                put(f"{pad}else:")
                self.block(pad + "    ", depth - 1, loop, protected)
        elif pick == 7 and loop:
            put(f"{pad}if {self.condition()}:\n{pad}    {self.r.choice(['break', 'continue'])}")
        elif pick == 8:
            put(f"{pad}if {self.condition()}:\n{pad}    raise Trap({self.r.randrange(9)}, {self.r.choice('abc')})")
        elif pick == 9:
            put(f"{pad}if {self.condition()}:\n{pad}    return a ^ b")
        elif pick == 10:
            put(f"{pad}try:")
            self.block(pad + "    ", depth - 1, loop, True)
            put(f"{pad}except Trap:\n{pad}    a = h.trap_cause + b")
            if self.r.random() < 0.2:
                put(f"{pad}    raise")
            self.block(pad + "    ", depth - 1, loop, protected)
        elif pick == 13:
            put(f"{pad}match {self.r.choice('abc')} >> {self.r.randrange(8)} & 7:")
            for number in self.r.sample(range(8), self.r.randrange(1, 5)):
                put(f"{pad}    case {number}:")
                self.block(pad + "        ", depth - 1, loop, protected)
            if self.r.random() < 0.6:
                put(f"{pad}    case _:")
                self.block(pad + "        ", depth - 1, loop, protected)
        elif self.loops < 3:
            self.loops += 1
            n = self.loops
            if pick == 11:
                put(f"{pad}for i{n} in range({self.r.randrange(1, 6)}):")
            else:
                put(f"{pad}n{n}: u64 = 0\n{pad}while n{n} < {self.r.randrange(1, 6)}:\n{pad}    n{n} += 1")
            self.block(pad + "    ", depth - 1, True, protected)
            if pick == 11 and self.r.random() < 0.5:
                put(f"{pad}    c += i{n}")
            self.loops -= 1
        else:
            put(f"{pad}pass")

    def function(self, name: str) -> str:
        self.block("    ", 4, False, False)
        body = "\n".join(self.lines)
        return f"def {name}(h: State, a: u64, b: u64, c: u64) -> u64:\n{body}\n    return a + b * 3 + c * 5\n"


CHILD = """
def child(h: State, a: u64) -> u64:
    if a & 7 == 5:
        raise Trap(a & 0xff, a)
    return a * 3 + 1
"""
OUTER = """
def o{0}(h: State, a: u64, b: u64, c: u64) -> u64:
    try:
        return s{0}(h, a, b, c)
    except Trap:
        return h.trap_cause ^ 0x55
"""


def pairs(count: int, first: int = 0) -> list:
    scope = dict(SCOPE)
    scope["child"] = source_fn("child", CHILD, scope)
    functions = []
    for seed in range(first, first + count):
        scope[f"s{seed}"] = source_fn(f"s{seed}", Statements(seed).function(f"s{seed}"), scope)
        functions.append(source_fn(f"o{seed}", OUTER.format(seed), scope))
    return functions


@pytest.mark.parametrize("opt", [0, 2])
def test_statements(opt: int) -> None:
    functions = pairs(120)
    made = library(functions, opt=opt)
    r = random.Random(2)
    for function in functions:
        call = made.function(function)
        for _ in range(10):
            arguments = [r.choice([r.randrange(9), r.getrandbits(64)]) for _ in range(3)]
            there, here = State.ctype()(), State()
            for i in range(32):
                there.x[i] = here.x[i] = i * i
            assert call(ctypes.addressof(there), *arguments) == function(here, *arguments), function.symbol
            assert as_plain(there, State) == as_plain(here, State), function.symbol
