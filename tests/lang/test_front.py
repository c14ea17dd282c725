"""What is in the subset and what is not: every refusal names the place and the reason."""

from __future__ import annotations

import enum
from types import SimpleNamespace

import pytest

from popek.lang import (
    Opaque,
    SubsetError,
    Trap,
    addr_of,
    atomic_add,
    cast,
    clz,
    fn,
    i32,
    i64,
    invoke,
    sdiv,
    source_fn,
    table,
    u8,
    u16,
    u32,
    u64,
)
from popek.lang.front import read
from popek.lang.run import source
from tests.lang.helper import State


class Cause(enum.IntEnum):
    FETCH = 12
    LOAD = 13


WIDE = 64
BIG = 1 << 63
codes = SimpleNamespace(LOAD=13, table=(1, 2, 3))
SQUARES = table(u16, [i * i for i in range(10)])


@fn
def constants(a: u64) -> u64:
    if WIDE == 64:
        return a + Cause.LOAD + codes.LOAD + codes.table[1] + (BIG >> 60)
    return unknown_name  # noqa: F821 - never read


@fn
def look_up(i: u64) -> u64:
    return u64(SQUARES[i]) + u64(SQUARES[3])


@fn
def keywords(a: u64) -> u64:
    return two(y=a, x=1)


@fn
def two(x: u64, y: u64) -> u64:
    return x * 10 + y


@fn
def chained(a: u64, b: u64) -> bool:
    return 3 <= a < b


@fn
def swapped(a: u64, b: u64) -> u64:
    a, b = b, a
    return a * 100 + b


def factory(step: int):
    @fn
    def advance(a: u64) -> u64:
        return a + step

    return advance


def typed_factory(kind):
    @fn
    def narrow(a: kind) -> kind:
        b: kind = a + 1
        return b

    @fn(inline=True)
    def wide(a: kind) -> u64:
        return u64(a)

    return narrow, wide


def test_types_from_the_function_around() -> None:
    narrow, wide = typed_factory(u8)
    assert narrow(255) == 0 and wide(256) == 0
    narrow, wide = typed_factory(u16)
    assert narrow(255) == 256 and wide(256) == 256


def test_things_that_work() -> None:
    assert constants(1) == 1 + 13 + 13 + 2 + 8
    assert look_up(5) == 34
    assert keywords(3) == 13
    assert chained(3, 4) is True and chained(4, 4) is False
    assert swapped(1, 2) == 201
    assert factory(5)(1) == 6 and factory(7)(1) == 8


def test_masks_only_where_needed() -> None:
    @fn
    def bits(a: u64, b: u64) -> u64:
        return ((a + b + 1) & 0xFF) | (a ^ b) >> 3

    assert source(bits).count(str((1 << 64) - 1)) == 0
    assert bits((1 << 64) - 1, 3) == (3 | ((1 << 64) - 1 ^ 3) >> 3)


REFUSED = [
    ("a: u64, b: u32", "u64", "return a + b", "convert explicitly"),
    ("a: u64", "u64", "return a + (1 << 64)", "does not fit"),
    ("a: u64", "u64", "if a:\n        return 1\n    return 2", "must be a bool"),
    ("a: u64", "u64", "x = 5\n    return a + x", "needs a type"),
    ("a: u64", "u64", "return a / 2", "not in the subset"),
    ("a: i64", "i64", "return a // 2", "sdiv"),
    ("a: u64", "u64", "return sdiv(a, a)", "signed"),
    ("a: u64", "u64", "return u64('x')", "not in the subset"),
    ("a: u64", "u64", "return [a][0]", "not in the subset"),
    ("a: u64", "u64", "print(a)\n    return a", "cannot be called"),
    ("a: u64", "u64", "return nothing", "unknown name nothing"),
    ("a: u64", "u64", "return x\n    x = a", "before it is assigned"),
    ("a: u64", "u64", "if a == 0:\n        return 1", "may end without returning"),
    ("a: u64", "u64", "while True:\n        if a == 1:\n            break\n        return 3", "may end without"),
    ("a: u64", "None", "return a", "declared as None"),
    ("a: u64", "u64", "return", "declared as u64"),
    ("a: u64", "u64", "raise Trap(1, a)", "trap_cause"),
    ("h: State", "u64", "raise ValueError", "raise Trap"),
    ("h: State", "u64", "raise", "belongs into"),
    ("h: State", "u64", "return h.nope", "no field nope"),
    ("h: State", "u64", "return h.x[32]", "outside"),
    ("h: State", "u64", "return h.pc.low", "no fields"),
    ("h: State", "None", "h.one = h.one", "as a whole"),
    ("h: State", "None", "h = 3", "wanted"),
    ("h: State", "u64", "try:\n        return 1\n    except ValueError:\n        return 2", "only `try"),
    ("a: u64", "u64", "for i in [1, 2]:\n        a += i\n    return a", "range"),
    ("a: u64", "u64", "return a if clz(5) == 3 else 1", "type"),
    ("a: u64", "u64", "return atomic_add(a, 1)", "in memory"),
    ("a: u64", "u64", "return addr_of(a)", "no address"),
    ("a: u64", "u64", "return other(a, a)", "takes 1"),
    ("a: u64", "u64", "lambda: a\n    return a", "Lambda"),
    ("a: u64", "u64", "with a:\n        return a", "With"),
    ("a, b: u64", "u64", "return b", "needs a type"),
    ("a: u64 = 3", "u64", "return a", "defaults"),
    ("a: float", "u64", "return 1", "not a type"),
    ("a: u8", "u8", "return a + 256", "does not fit"),
    ("a: u64", "bool", "return a", "wanted"),
    ("a: bool", "bool", "return a < a", "< on bool"),
    ("a: u64", "u64", "return a % 0 if 8 % u64(0) == 1 else a", "division by zero"),
    ("a: u64", "u64", "match a:\n        case 1:\n            return 1", "may end"),
    ("a: u64", "None", "match a:\n        case x:\n            pass", "as patterns"),
    ("a: u64", "None", "match a:\n        case 1 if a == 1:\n            pass", "not in the subset"),
    ("h: State", "u64", "return cast(State, h.pc)[3]", "cannot be indexed"),
]


@pytest.mark.parametrize("parameters, result, body, message", REFUSED)
def test_things_that_are_refused(parameters: str, result: str, body: str, message: str) -> None:
    scope = {**globals(), "__name__": "tests.refused"}
    function = source_fn("f", f"def f({parameters}) -> {result}:\n    {body}\n", scope)
    with pytest.raises(SubsetError, match=message) as caught:
        read(function)
    assert "<popek tests.refused.f>:" in str(caught.value)


@fn
def other(a: u64) -> u64:
    return a


def test_an_unreadable_source_is_refused() -> None:
    space: dict = {"fn": fn, "u64": u64}
    exec("@fn\ndef f(a: u64) -> u64:\n    return a\n", space)
    with pytest.raises(SubsetError, match="no source"):
        read(space["f"])


USED = (Opaque, Trap, cast, i32, u8, u32, addr_of, atomic_add, clz, invoke, sdiv, i64, State)
