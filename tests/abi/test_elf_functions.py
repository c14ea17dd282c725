"""abi/elf_functions: names and ends of functions, of stripped files the ends; damage gives fewer."""

import random
import struct

from popek.abi.elf_functions import Function, best, functions, loads
from tests import elves

BASE = 0x1_0000


def unwinding(section: int, ranges: list[tuple[int, int]]) -> bytes:
    """An .eh_frame at that address: one common part, an entry for each (start, size)."""
    common = b"\x01zR\0" + bytes([1, 0x7C, 1, 1, 0x1B, 0x0C, 2, 0])
    data = struct.pack("<II", 4 + len(common), 0) + common
    for start, size in ranges:
        at = len(data)
        data += struct.pack("<IIiI", 16, at + 4, start - (section + at + 8), size) + bytes(4)
    return data + bytes(4)


def test_symbols_reach_to_their_ends():
    data = memoryview(
        elves.sections(elves.elf(bytes(0x100), BASE), [], [("a", BASE, 16), ("_a", BASE, 16), ("b", BASE + 64, 8)])
    )
    found = functions(data)
    assert found.at(BASE + 15) == Function(BASE, BASE + 16, "a")
    assert found.at(BASE + 16) is None and found.at(BASE - 1) is None
    assert found.at(BASE + 64).name == "b"
    assert [load.code for load in loads(data)] == [True]


def test_stripped_files_have_functions_without_names():
    frames = unwinding(0x2_0000, [(BASE, 32), (BASE + 32, 32), (BASE + 80, 4)])
    extra = [
        (b".text", 1, 6, BASE, b""), (b".plt", 1, 6, BASE + 0x200, bytes(64)), (b".eh_frame", 1, 2, 0x2_0000, frames),
    ]  # fmt: skip
    data = memoryview(elves.sections(elves.elf(bytes(0x100), BASE), extra, [("known", BASE + 32, 0)]))
    found = functions(data)
    assert found.at(BASE + 31) == Function(BASE, BASE + 32, "")
    assert found.at(BASE + 40) == Function(BASE + 32, BASE + 64, "known")  # a symbol without a size has it from there
    assert found.at(BASE + 64) is None
    assert found.at(BASE + 0x220).name == ".plt"


def test_damage_gives_fewer_names_and_no_error():
    frames = unwinding(0x2_0000, [(BASE, 32), (BASE + 32, 32)])
    good = elves.sections(elves.elf(bytes(64), BASE), [(b".eh_frame", 1, 2, 0x2_0000, frames)], [("f", BASE, 4)])
    chance = random.Random(7)
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(4, len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        data = memoryview(bytes(data[: chance.randrange(4, len(data) + 1)]))
        functions(data).at(BASE)
        loads(data)


def test_the_plain_name_is_shown():
    assert best(["__memcpy", "memcpy", "__pi_memcpy"]) == "memcpy"
