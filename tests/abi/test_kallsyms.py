"""abi/kallsyms: symbols are found in what scripts/kallsyms.c of several ages writes, and nowhere else."""

import os
import random
import struct
from pathlib import Path

import pytest

from popek.abi import kallsyms

COUNT = 1000


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def blob(symbols: list[tuple[int, str]], age: str, lowest: int = 0xFFFFFFFF_80000000) -> bytes:
    """Tables of (offset, letter and name). `age`: "6.4", "6.2" or "4.20"."""
    tokens = [bytes([i]) if chr(i).isalnum() or chr(i) in "_." else b"ab%x" % i for i in range(256)]
    packed = {token: i for i, token in enumerate(tokens)}
    names, markers = b"", []
    for i, (_, name) in enumerate(symbols):
        if i % 256 == 0:
            markers.append(len(names))
        codes = bytes(packed[letter.encode()] for letter in name)
        size = bytes([len(codes)]) if len(codes) < 128 else bytes([len(codes) & 127 | 128, len(codes) >> 7])
        names += size + codes
    places, table = [], b""
    for token in tokens:
        places.append(len(table))
        table += token + b"\0"
    count = padded(struct.pack("<I", len(symbols)))
    offsets = padded(struct.pack(f"<{len(symbols)}I", *(offset for offset, _ in symbols))) + struct.pack("<Q", lowest)
    sequence = padded(b"".join(i.to_bytes(3, "big") for i in range(len(symbols))))
    text = padded(names), padded(struct.pack(f"<{len(markers)}I", *markers))
    index = padded(table) + padded(struct.pack("<256H", *places))
    order = {
        "6.4": (count, *text, index, offsets, sequence),
        "6.2": (offsets, count, *text, sequence, index),
        "4.20": (offsets, count, *text, index),
    }[age]
    return b"".join(order)


def image(symbols: list[tuple[int, str]], age: str, **more: int) -> memoryview:
    chance = random.Random(3)
    noise = bytes(chance.choice((0, 0, 0x13, chance.randrange(256))) for _ in range(1 << 16))
    return memoryview(noise + blob(symbols, age, **more) + noise)


def some(first: str = "T_start") -> list[tuple[int, str]]:
    return [
        (0, first),
        *((0x1000 + 16 * i, f"tfunction_{i}.part.0") for i in range(COUNT)),
        (0x9000_00, "T" + "l" * 300),
    ]


@pytest.mark.parametrize("age", ["6.4", "6.2", "4.20"])
def test_symbols(age):
    found = kallsyms.find(image(some(), age))
    assert len(found) == COUNT + 2
    assert found[0] == (0, "T", "_start") and found[1] == (0x1000, "t", "function_0.part.0")
    assert found[-1] == (0x900000, "T", "l" * 300)


def test_a_kernel_without_its_first_symbol_has_a_lowest_address():
    assert kallsyms.find(image(some("T_stext"), "6.4", lowest=0xFFFFFFFF_80002000))[1].offset == 0x3000
    assert kallsyms.find(image(some("T_stext"), "6.4", lowest=0)) == []  # nobody knows where they are


def test_no_symbols_in_anything_else():
    assert kallsyms.find(memoryview(b"")) == []
    assert kallsyms.find(memoryview(b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00" * 100)) == []
    tables = blob(some(), "6.4")
    tokens = tables.index(b"ab0\0")
    assert kallsyms.find(memoryview(bytes(1 << 20) + tables[tokens:])) == []  # nothing but zeros where markers would be
    chance = random.Random(5)
    good = blob(some(), "6.4")
    for _ in range(40):
        data = bytearray(good)
        for _ in range(20):
            data[chance.randrange(len(data))] = chance.randrange(256)
        kallsyms.find(memoryview(bytes(data[: chance.randrange(len(data))])))


def test_a_real_kernel():
    path = Path(os.environ.get("POPEK_GUESTS", "/nonexistent")) / "Image"
    if not path.exists():
        pytest.skip("POPEK_GUESTS has no Image")
    found = kallsyms.find(memoryview(path.read_bytes()))
    names = {one.name: one for one in found}
    assert len(found) > 10_000 and names["_start"].offset == 0
    assert names["handle_exception"].kind == "T" and names["schedule"].offset % 2 == 0
