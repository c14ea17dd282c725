"""Structs, traps, memory, atomics, ports and lowering: native code and plain Python do the same."""

from __future__ import annotations

import ctypes
import threading
from types import SimpleNamespace

import pytest

from popek.lang import (
    Opaque,
    Trap,
    addr_of,
    at_u8,
    at_u16,
    at_u32,
    at_u64,
    atomic_add,
    atomic_and,
    atomic_cas,
    atomic_load,
    atomic_or,
    atomic_release,
    atomic_store,
    atomic_sub,
    atomic_swap,
    atomic_xor,
    cast,
    extern,
    fence,
    fn,
    i16,
    i32,
    invoke,
    likely,
    memcpy,
    memset,
    port,
    spin_hint,
    u8,
    u16,
    u32,
    u64,
    unlikely,
)  # fmt: skip
from popek.lang.functions import SubsetError
from popek.lang.llvm import Program, emit
from popek.lang.run import Runner, Unbound, bind
from tests.lang.helper import Entry, State, as_plain, callable_of, library, native


def both(function, *arguments, **options):
    """Run on a plain and on a native State; the results and states must be the same."""
    plain, memory = State(), State.ctype()()
    call = native(function, **options)
    runner = Runner(options.get("ports"), options.get("substitute"))
    result = runner[function](plain, *arguments)
    assert call(memory, *arguments) == result
    assert as_plain(memory, State) == as_plain(plain, State)
    return result, plain


@fn
def fields(h: State, a: u64) -> u64:
    h.pc = a
    h.x[a & 31] = a * a
    h.x[3] += 5
    h.x[(a + 1) & 31] -= 1
    h.small = u8(a)
    h.small += 200
    h.flag = a > 3
    h.count = -5
    h.count -= i32(u32(a))
    h.word = ~u32(a)
    h.entries[a & 3].tag = a
    h.entries[2].valid = not h.flag
    h.one.kind = u16(a) << 4
    mark(h.entries[1], a)
    entry = h.entries[a & 3]
    entry.tag |= 0xF000
    h.flag = h.flag and h.one.kind != 0
    h.flag ^= a == 9
    return u64(h.small) + u64(h.count) + u64(h.word) + h.x[3] + u64(h.flag)


@fn
def mark(e: Entry, a: u64) -> None:
    e.valid = True
    e.tag = a ^ 0xFF


def test_fields() -> None:
    for a in (0, 1, 3, 7, 9, 250, 0x1234_5678_9ABC_DEF0, (1 << 64) - 1):
        both(fields, a)


@fn
def through_pointers(h: State) -> u64:
    if h.next is None:
        return 1
    if h.next is h:
        return 2
    h.peers[1] = h.next
    h.next.pc += 1
    h.peers[1].entries[0].tag = 77
    other = cast(State, h.owner)
    other.pc = 99
    h.next = None
    return h.peers[1].pc


def test_pointers() -> None:
    call = native(through_pointers)
    plain, other = State(), State()
    there, beyond = State.ctype()(), State.ctype()()
    assert through_pointers(plain) == call(there) == 1
    plain.next, there.next = plain, ctypes.addressof(there)
    assert through_pointers(plain) == call(there) == 2
    third, last = State(), State.ctype()()
    plain.next, plain.owner = other, third
    there.next, there.owner = ctypes.addressof(beyond), ctypes.addressof(last)
    assert through_pointers(plain) == call(there) == 1
    assert other.entries[0].tag == beyond.entries[0].tag == 77
    assert third.pc == last.pc == 99 and plain.next is None and there.next == 0


@fn
def may_trap(h: State, a: u64) -> u64:
    if unlikely(a > 10):
        raise Trap(a, a * 2)
    return a + 1


@fn
def passes_on(h: State, a: u64) -> u64:
    h.pc = may_trap(h, a) + may_trap(h, a >> 1)
    return h.pc


@fn
def no_result(h: State, a: u64) -> None:
    if a == 7:
        raise Trap(7, 0)
    h.word += 1


@fn
def catches(h: State, a: u64) -> u64:
    total: u64 = 0
    for i in range(4):
        try:
            total += passes_on(h, a + i)
            no_result(h, a + i)
            if likely(total > 1000):
                break
        except Trap:
            total += h.trap_cause * 1000 + h.trap_tval
            if h.trap_cause == 13:
                return total
    return total


@fn
def again(h: State, a: u64) -> u64:
    try:
        return may_trap(h, a)
    except Trap:
        h.word = 5
        raise


@fn
def recursive(h: State, n: u64) -> u64:
    if n == 0:
        return 0
    if n > 1000:
        raise Trap(1, n)
    return n + recursive(h, n - 1)


def test_traps() -> None:
    for a in range(16):
        both(catches, a)
    assert both(recursive_safely, 20)[0] == 210
    assert both(recursive_safely, 2000)[0] == 1
    plain = State()
    with pytest.raises(Trap) as caught:
        again(plain, 11)
    assert (caught.value.cause, caught.value.tval) == (11, 22) == (plain.trap_cause, plain.trap_tval)
    assert plain.word == 5


@fn
def recursive_safely(h: State, n: u64) -> u64:
    try:
        return recursive(h, n)
    except Trap:
        return h.trap_cause


def test_effects_and_results() -> None:
    program = Program([catches, again, no_result, fields])
    assert program.raising(again) and program.raising(no_result) and not program.raising(catches)
    assert program.result(again) == "{ i64, i1 }" and program.result(no_result) == "i1"
    assert program.result(mark) == "void" and not program.raising(fields)
    made = library([again, no_result])
    again_native = made.call(again, _Pair, ctypes.c_void_p, ctypes.c_uint64)
    memory = State.ctype()()
    pair = again_native(ctypes.addressof(memory), 3)
    assert (pair.value, pair.raised) == (4, False)
    assert again_native(ctypes.addressof(memory), 11).raised and memory.trap_tval == 22
    assert "store" not in Program([may_trap], bare_traps=True).text()


class _Pair(ctypes.Structure):
    _fields_ = [("value", ctypes.c_uint64), ("raised", ctypes.c_bool)]


@fn
def raw(address: u64, v: u64) -> u64:
    at_u64(address + 1).value = v
    at_u32(address + 9).value = u32(v) + 1
    at_u32(address + 9).value += 2
    at_u16(address + 13).value = u16(at_u8(address + 1).value) * 3
    memset(address + 20, 0xAB, 5)
    memcpy(address + 22, address + 1, 4)
    return u64(at_u16(address + 13).value) + at_u64(address + 20).value


def test_raw_memory() -> None:
    one, two = ctypes.create_string_buffer(40), ctypes.create_string_buffer(40)
    v = 0x8877_6655_4433_22F1
    assert raw(ctypes.addressof(one), v) == native(raw)(ctypes.addressof(two), v)
    assert one.raw == two.raw and one.raw[20:26] == b"\xab\xab\xf1\x22\x33\x44"


@fn
def atomics(h: State, a: u64) -> u64:
    total = atomic_add(h.pc, a) + atomic_or(h.x[a & 7], a) + atomic_and(h.x[1], 12)
    total += atomic_xor(h.pc, 3) + atomic_swap(h.x[2], a) + u64(atomic_sub(h.word, 5)) + u64(atomic_add(h.small, 255))
    atomic_store(h.x[5], total)
    atomic_release(h.x[3], atomic_load(h.x[3]) + 1)
    if atomic_cas(h.x[6], 0, 9):
        total += 1
    if atomic_cas(h.x[6], 0, 10):
        total += 1000
    fence()
    spin_hint()
    h.count += 1
    return total + atomic_load(h.pc) + u64(atomic_add(h.count, -3))


def test_atomics() -> None:
    for a in (0, 1, 5, (1 << 64) - 2):
        both(atomics, a)
    cell = ctypes.c_uint32(5)

    @fn
    def on_memory(address: u64) -> u32:
        atomic_or(at_u32(address), 8)
        return atomic_add(at_u32(address), 0xFFFFFFFF)

    assert on_memory(ctypes.addressof(cell)) == 13 and cell.value == 12
    assert native(on_memory)(ctypes.addressof(cell)) == 12 and cell.value == 11


def test_atomics_of_two_threads_lose_nothing_and_calls_release_the_lock() -> None:
    @fn
    def count(h: State, times: u64) -> None:
        atomic_add(h.word, 1)
        while atomic_load(h.word) < 2:  # ends only if both threads run at the same time
            spin_hint()
        for _ in range(times):
            atomic_add(h.pc, 1)

    memory = State.ctype()()
    call = native(count)
    threads = [threading.Thread(target=call, args=(memory, 50_000)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert memory.pc == 100_000


@port(raises=True)
def device_read(h: State, a: u64) -> u64: ...


@port
def now(h: State) -> u64: ...


@fn
def uses_ports(h: State, a: u64) -> u64:
    try:
        return device_read(h, a) + now(h)
    except Trap:
        return h.trap_cause


@fn
def fixed_time(h: State) -> u64:
    return 42


def test_ports() -> None:
    ports = {device_read: may_trap, now: fixed_time}
    assert both(uses_ports, 3, ports=ports)[0] == 46
    assert both(uses_ports, 12, ports=ports)[0] == 12
    with pytest.raises(Unbound, match="device_read"):
        uses_ports(State(), 1)
    with bind({device_read: lambda h, a: a * 10, now: lambda h: 1}):
        assert uses_ports(State(), 5) == 51
        with bind({now: lambda h: 2}):
            assert uses_ports(State(), 5) == 52
        assert uses_ports(State(), 5) == 51


def test_ports_left_open_become_external_symbols() -> None:
    callback = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(lambda h: 7)
    made = library([uses_ports], {now.symbol: callback}, ports={device_read: may_trap})
    assert made.image.externals == [now.symbol]
    memory = State.ctype()()
    assert callable_of(made, uses_ports)(memory, 3) == 11


def test_a_port_without_raises_refuses_a_function_that_raises() -> None:
    @fn
    def bad_time(h: State) -> u64:
        raise Trap(1, 2)

    @fn
    def other_shape(h: State, a: u64) -> u64:
        return a

    with pytest.raises(SubsetError, match="raises=True"):
        emit([uses_ports], ports={device_read: may_trap, now: bad_time})
    with pytest.raises(SubsetError, match="another signature"):
        emit([uses_ports], ports={device_read: may_trap, now: other_shape})


@fn
def fast_path(h: State, a: u64) -> u64:
    if a == 0:
        return 500
    return may_trap(h, a)  # the substituted function itself


def test_substitutes() -> None:
    assert both(catches, 0, substitute={may_trap: fast_path})[0] != both(catches, 0)[0]
    assert (
        both(uses_ports, 0, ports={device_read: may_trap, now: fixed_time}, substitute={may_trap: fast_path})[0] == 542
    )


def lowering(symbol: str) -> tuple[str, list[str]]:
    """Doubles, natively; odd numbers through the subset body."""
    text = f"""define internal i64 @"{symbol}"(i64 %a) alwaysinline {{
  %odd = trunc i64 %a to i1
  br i1 %odd, label %soft, label %hard
soft:
  %s = call i64 @"{symbol}.soft"(i64 %a)
  ret i64 %s
hard:
  %d = call i64 @llvm.fshl.i64(i64 %a, i64 0, i64 1)
  ret i64 %d
}}"""
    return text, ["declare i64 @llvm.fshl.i64(i64, i64, i64)"]


@fn(native=lowering)
def twice(a: u64) -> u64:
    return a * 2 + 1000


@fn(native=lambda symbol: None)
def no_lowering(a: u64) -> u64:
    return a + 3


@fn
def use_twice(h: State, a: u64) -> u64:
    return twice(a) + no_lowering(1)


def test_native_lowering() -> None:
    call = native(use_twice)
    memory = State.ctype()()
    assert call(memory, 4) == 12 and call(memory, 5) == 1014
    assert use_twice(State(), 4) == 1012
    assert native(use_twice, native=False)(memory, 4) == 1012


@extern("labs")
def labs(a: u64) -> u64:
    return a if a < 1 << 63 else (1 << 64) - a


@extern("popek_test_missing")
def missing(a: u64) -> u64: ...


@fn
def calls_c(h: State, a: u64) -> u64:
    return labs(a) + 1


@fn
def calls_address(h: State, a: u64) -> u64:
    return invoke(u64, addr_of(calls_c), h, a) + invoke(u64, a, h, u64(5))


def test_externs_and_invoke() -> None:
    assert both(calls_c, (1 << 64) - 5)[0] == 6
    target = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(lambda h, a: a * 100)
    address = ctypes.cast(target, ctypes.c_void_p).value
    memory = State.ctype()()
    assert native(calls_address)(memory, address) == address + 1 + 500
    with pytest.raises(Unbound):
        calls_address(State(), 1)


@fn
def odd_names(raised: u64, entry: u64) -> u64:
    label: u64 = 1
    for define in range(entry):
        label += define * raised
    return label


def test_names_do_not_collide_with_our_own() -> None:
    assert native(odd_names)(3, 5) == odd_names(3, 5) == 31


@fn
def matches(h: State, a: u64) -> u64:
    total: u64 = 0
    for i in range(12):
        match (a + i) & 15:
            case 0 | 3 | 15:
                total += 1
            case codes.five:
                total *= 3
                continue
            case 7:
                if a & 64 != 0:
                    break
                raise_if_odd(h, i)
            case 9:
                return total
            case _:
                total ^= i
        match i32(total) - 2:
            case -1:
                total += 100
            case -2:
                pass
    return total


@fn
def raise_if_odd(h: State, i: u64) -> None:
    if i & 1 != 0:
        raise Trap(3, i)


@fn
def all_cases_return(h: State, a: u64) -> u64:
    try:
        match a & 3:
            case 1:
                return matches(h, a)
            case 2:
                return 5
            case _:
                return matches(h, a + 1)
    except Trap:
        return h.trap_tval


codes = SimpleNamespace(five=5)


def test_match() -> None:
    call = native(all_cases_return)
    for a in range(150):
        plain, memory = State(), State.ctype()()
        assert call(memory, a) == all_cases_return(plain, a)
        assert as_plain(memory, State) == as_plain(plain, State)


@extern("popek_test_narrow")
def narrow(a: bool, b: u8, c: i16, d: u32) -> bool:
    return a and b == 255 and c == -2 and d == 7


@fn
def calls_narrow(h: State, a: u64) -> bool:
    return narrow(a != 0, u8(a), i16(a - 1), u32(a + 8)) and not low_bit(h, a + 1)


@fn
def low_bit(h: State, a: u64) -> bool:
    return h.flag or a & 1 == 1


def test_narrow_types_across_the_c_boundary() -> None:
    seen = []
    c = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint32)
    target = c(lambda *given: seen.append(given) or narrow.python(bool(given[0]), *given[1:]))
    made = library([calls_narrow, low_bit], {"popek_test_narrow": target})
    memory = State.ctype()()
    assert callable_of(made, calls_narrow)(memory, (1 << 64) - 1) is True
    assert calls_narrow(State(), (1 << 64) - 1) is True
    assert seen == [(1, 255, -2, 7)]
    assert callable_of(made, low_bit)(memory, 0x1234) is False


@fn
def unassigned(a: u64) -> u64:
    while a > 3:
        at_u8(a).value = 0
        a -= 1
    if a == 7:
        c = a
    else:
        a += c
    return a


def test_use_of_what_nobody_assigned() -> None:
    with pytest.raises(SubsetError, match="unassigned: c is used before"):
        emit([unassigned])


def test_addresses() -> None:
    @fn
    def where(h: State, i: u64) -> u64:
        return addr_of(h.entries[i].kind) - addr_of(h) + addr_of(h.x) - addr_of(h)

    memory = State.ctype()()
    expected = State.offset("entries") + 2 * 16 + 10 + 8
    assert native(where)(memory, 2) == expected == where(memory, 2)


USED = Opaque
