"""Types and structs: conversion, layout, the ctypes view."""

from __future__ import annotations

import ctypes

import pytest

from popek.lang import Array, Ptr, i8, i64, struct, u8, u32, u64, u128
from tests.lang.helper import Entry, State


def test_types_convert_by_wrapping() -> None:
    assert u8(300) == 44 and i8(200) == -56 and u64(-1) == (1 << 64) - 1 and i64(1 << 63) == -(1 << 63)
    assert u32() == 0 and u8(True) == 1


def test_a_struct_in_plain_python_starts_zeroed() -> None:
    state = State()
    assert state.pc == 0 and state.x == [0] * 32 and state.flag is False and state.next is None
    assert state.peers == [None] * 3 and len(state.entries) == 4
    assert state.entries[0] is not state.entries[1] and isinstance(state.one, Entry)
    with pytest.raises(AttributeError):
        state.misspelt = 1


def test_layout() -> None:
    assert State.offset("pc") == 0 and State.offset("x") == 8 and State.offset("trap_cause") == 8 + 256
    assert State.offset("entries") % 8 == 0 and Entry.size == 16 and Entry.offset("kind") == 10
    assert State.offset("one.kind") == State.offset("one") + 10
    for name in State.fields:
        assert getattr(State.ctype(), name).offset == State.offset(name)
    assert ctypes.sizeof(State.ctype()) == State.size and State.align == 8


def test_fields_may_have_the_names_of_struct_attributes() -> None:
    @struct
    class Odd:
        size: u32
        offset: u64
        fields: u8
        layout: u8

    odd = Odd()
    odd.size, odd.fields = 5, 6
    assert (odd.size, odd.offset, odd.fields) == (5, 0, 6)
    assert Odd.size == 24 and Odd.offset("offset") == 8 and Odd.fields["fields"] is u8


def test_at_is_a_live_view() -> None:
    memory = State.ctype()()
    view = State.at(ctypes.addressof(memory))
    view.x[3] = 7
    view.entries[2].valid = True
    assert memory.x[3] == 7 and memory.entries[2].valid
    view.next = 0x1234
    assert memory.next == 0x1234


def test_bad_structs() -> None:
    with pytest.raises(TypeError, match="not a type"):

        @struct
        class Wrong:
            a: float

    with pytest.raises(TypeError, match="default"):

        @struct
        class Default:
            a: u8 = 3

    with pytest.raises(TypeError, match="u128"):

        @struct
        class Wide:
            a: u128

    assert repr(Array[u8, 3]) == "Array[u8, 3]" and repr(Ptr[State]) == "Ptr[State]"
