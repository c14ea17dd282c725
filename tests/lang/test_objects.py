"""Images: linking, loading, memory protection."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from popek.lang import fn, u64
from popek.lang.compiler import CompileError
from popek.lang.llvm import Program, emit
from popek.lang.objects import Image, LinkError, build

# Writable data, a pointer table (load-time addresses), a constant pool, calls into another module and into libc.
ONE = """
@counter = global i64 5
@zeros = internal global [4096 x i8] zeroinitializer
@names = constant [2 x ptr] [ptr @first, ptr @second]
declare i64 @second(i64)
declare i64 @labs(i64)
define i64 @first(i64 %a) {
  %n = load i64, ptr @counter
  %m = add i64 %n, %a
  store i64 %m, ptr @counter
  ret i64 %m
}
define i64 @through(i64 %which, i64 %a) {
  %p = getelementptr [2 x ptr], ptr @names, i64 0, i64 %which
  %f = load ptr, ptr %p
  %r = call i64 %f(i64 %a)
  ret i64 %r
}
define i64 @far(i64 %a) {
  %r = call i64 @second(i64 %a)
  %s = call i64 @labs(i64 %r)
  %z = getelementptr i8, ptr @zeros, i64 %a
  %b = load i8, ptr %z
  %w = zext i8 %b to i64
  %t = add i64 %s, %w
  ret i64 %t
}
define ptr @where() {
  ret ptr @labs
}
define double @half(double %x) {
  %y = fmul double %x, 0.375
  ret double %y
}
"""
TWO = """
@counter = external global i64
define i64 @second(i64 %a) {
  %n = load i64, ptr @counter
  %m = mul i64 %n, %a
  %k = sub i64 0, %m
  ret i64 %k
}
"""


@pytest.fixture(scope="module")
def image() -> Image:
    return build([ONE, TWO], opt=1)


def test_modules_are_joined(image: Image, tmp_path: Path) -> None:
    image.save(tmp_path / "code")
    for one in (image, Image.load(tmp_path / "code")):
        made = one.link()
        assert one.externals == ["labs"]
        one_argument = [made.call(n, ctypes.c_int64, ctypes.c_int64) for n in ("first", "second", "far")]
        first, second, far = one_argument
        assert first(10) == 15 and second(2) == -30 and far(2) == 30
        through = made.call("through", ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
        assert through(0, 1) == 16 and through(1, 2) == -32
        assert made.call("half", ctypes.c_double, ctypes.c_double)(2.0) == 0.75
        libc = ctypes.cast(ctypes.CDLL(None).labs, ctypes.c_void_p).value
        assert made.call("where", ctypes.c_uint64)() == libc
        assert ctypes.c_int64.from_address(made.address("counter")).value == 16


def test_two_libraries_of_an_image_do_not_share_data(image: Image) -> None:
    one, two = image.link(), image.link()
    assert one.call("first", ctypes.c_int64, ctypes.c_int64)(1) == 6
    assert two.call("first", ctypes.c_int64, ctypes.c_int64)(1) == 6


def test_no_memory_is_writable_and_executable(image: Image) -> None:
    made = image.link()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        low, high = (int(x, 16) for x in span.split("-"))
        if low < made.base + made.image.linked.size and made.base < high:
            assert not ("w" in rights and "x" in rights), line
        if low <= made.address("first") < high:
            assert rights.startswith("r-x")
        if low <= made.address("counter") < high:
            assert rights.startswith("rw-")


def test_a_function_keeps_its_library_alive(image: Image) -> None:
    first = image.link().call("first", ctypes.c_int64, ctypes.c_int64)
    assert first(2) == 7


def test_missing_externals_are_named() -> None:
    text = (
        "declare void @popek_nobody_has_this()\ndefine void @f() {\n call void @popek_nobody_has_this()\n ret void\n}"
    )
    with pytest.raises(LinkError, match="popek_nobody_has_this"):
        build(text).link()
    build(text).link({"popek_nobody_has_this": 0x1000})


def test_bad_text_is_refused() -> None:
    with pytest.raises(CompileError):
        build("define i64 @f() { ret i32 5 }")
    with pytest.raises(CompileError):
        build([TWO, "this is not LLVM"])


@fn(export=True)
def triple(a: u64) -> u64:
    return helper(a) + helper(a + 1) - helper(1)


@fn(export=True)
def other(a: u64) -> u64:
    return triple(bigger(a)) + bigger(1)


@fn
def helper(a: u64) -> u64:
    return bigger(a) ^ 5 if a != 7 else triple(8)


@fn(cold=True)
def bigger(a: u64) -> u64:
    return a * 3


def test_a_program_in_parts() -> None:
    parts = Program([triple, other]).split(2)
    assert len(parts) == 2
    made = build(parts).link()
    assert made.function(other)(5) == other(5)
    call = made.function(triple)
    for a in (0, 3, 6, 7, 100):
        assert call(a) == triple(a)


def test_symbols_are_there_for_people() -> None:
    symbols = build(emit([triple]), opt=0).symbols
    assert {triple.symbol, bigger.symbol, helper.symbol} <= set(symbols)


def test_loading_does_not_need_llvm(image: Image, tmp_path: Path) -> None:
    image.save(tmp_path / "code")
    code = (
        "import sys, ctypes; from popek.lang.objects import Image; "
        f"lib = Image.load({str(tmp_path / 'code')!r}).link(); "
        "assert lib.call('first', ctypes.c_int64, ctypes.c_int64)(3) == 8; "
        "assert not [m for m in sys.modules if 'llvmlite' in m or m in ('pathlib', 'hashlib', 'tempfile', 'json')]"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": source})
