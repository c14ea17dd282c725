"""api/profile_modules: a module is known by what linking leaves; some changed nops do not matter, other code does."""

import random
import struct

from popek.abi.elf_functions import Function
from popek.abi.elf_module import codes
from popek.api.profile_modules import Modules
from popek.api.sampler import Place
from tests import elves

PAGE = 4096


def module(code: bytes, relocations: list[int], *functions: tuple[str, int, int]) -> memoryview:
    """A file that is not linked: .text is its section 1."""
    rela = b"".join(struct.pack("<QQq", at, 19, 0) for at in relocations)
    data = bytearray(elves.elf(b"", kind=1))
    extra = [(b".text", 1, 6, 0, code), (b".rela.text", 4, 0, 0, rela)]
    made = bytearray(elves.sections(bytes(data), extra, [*functions]))
    headers = int.from_bytes(made[40:48], "little")
    struct.pack_into("<I", made, headers + 2 * 64 + 44, 1)  # what .rela.text is about
    return memoryview(bytes(made))


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_linked_page_is_found():
    code = noise(1, PAGE + 1000)
    places = [*range(0, 600, 24), PAGE + 16]
    file = module(code, places, ("first", 0, 100), ("second", PAGE, 500))
    loaded = bytearray(code.ljust(2 * PAGE, b"\7"))
    for at in places:
        loaded[at : at + 8] = bytes(8)
    loaded[2000:2004] = b"\x13\0\0\0"
    pages = bytes(loaded[:PAGE]), bytes(loaded[PAGE:]), noise(2, PAGE)
    modules = Modules(pages)
    modules.add("my-module.ko", file)
    start = 0xFFFFFFFF_01570000
    assert modules.at(Place(start + 50, 0, 1), pages[0]) == (Function(0, 100, "first"), 50, "my_module")
    second = Function(PAGE, PAGE + 500, "second")
    assert modules.at(Place(start + PAGE + 499, 0, 2), pages[1]) == (second, PAGE + 499, "my_module")
    assert modules.at(Place(start + PAGE + 500, 0, 2), pages[1]) is None  # behind its end
    assert modules.at(Place(start, 0, 3), pages[2]) is None and modules.at(Place(start, 0, 0), b"") is None


def test_another_version_is_not_taken_for_it():
    code = noise(1, PAGE)
    modules = Modules([code[:1000] + noise(3, PAGE - 1000)])
    modules.add("m.ko", module(code, [], ("first", 0, 100)))
    assert modules.at(Place(0, 0, 1), code[:1000] + noise(3, PAGE - 1000)) is None


def test_what_is_no_module_has_no_code():
    assert codes(memoryview(b"")) == codes(memoryview(elves.elf(bytes(64)))) == []
    good = bytes(module(noise(1, 600), [8, 16], ("first", 0, 100)))
    chance = random.Random(9)
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(3):
            data[chance.randrange(4, len(data))] = chance.choice((0, 1, 0xFF, chance.randrange(256)))
        codes(memoryview(bytes(data[: chance.randrange(len(data))])))
