"""The bus of Python device models, and guest memory as they see it."""

import ctypes

import pytest

from popek.devices.bus import Bus, GuestMemory, Line, OutOfMemory, Request


class Register:
    """One register that remembers."""

    def __init__(self, base: int, size: int = 0x1000) -> None:
        self.base, self.size = base, size
        self.seen: list[tuple] = []

    def read(self, offset: int, size: int) -> int:
        self.seen.append(("read", offset, size))
        return -1

    def write(self, offset: int, size: int, value: int) -> None:
        self.seen.append(("write", offset, size, value))


def access(bus: Bus, address: int, size: int, write: bool = False, value: int = 0) -> tuple[int, int]:
    request = Request(address, value, size, int(write))
    return bus.callback()(ctypes.addressof(request)), request.value


def test_accesses_reach_their_device():
    bus = Bus()
    devices = [Register(0x3000), Register(0x1000), Register(0x2000)]
    for device in devices:
        bus.add(device)
    assert access(bus, 0x1FFC, 4) == (0, 0xFFFF_FFFF)
    assert access(bus, 0x2000, 8) == (0, (1 << 64) - 1)
    assert access(bus, 0x3001, 1, True, 0x1FF) == (0, 0x1FF)
    assert [d.seen for d in devices] == [[("write", 1, 1, 0xFF)], [("read", 0xFFC, 4)], [("read", 0, 8)]]
    for nobody in (0, 0xFFF, 0x4000, 1 << 63):
        assert access(bus, nobody, 4)[0] == access(bus, nobody, 4, True)[0] == 1


@pytest.mark.parametrize(("base", "size"), [(0x1000, 1), (0xF00, 0x101), (0x1FFF, 1), (0, 0x5000)])
def test_places_do_not_overlap(base, size):
    bus = Bus()
    bus.add(Register(0x1000))
    with pytest.raises(ValueError, match="two devices"):
        bus.add(Register(base, size))


def test_a_failing_model_is_reported_a_few_times():
    class Bad(Register):
        def read(self, offset: int, size: int) -> int:
            raise KeyError("oops")

    said: list[str] = []
    bus = Bus(said.append)
    bus.add(Bad(0))
    for _ in range(50):
        assert access(bus, 0, 4)[0] == 1
    assert len(said) == 10
    assert "KeyError" in said[0]


def test_memory_bounds():
    wrote: list[tuple[int, int]] = []
    memory = GuestMemory(0x8000_0000, memoryview(bytearray(0x1000)), lambda paddr, n: wrote.append((paddr, n)))
    memory.write(0x8000_0FF0, b"0123456789abcdef")
    assert memory.read(0x8000_0FF8, 8) == b"89abcdef"
    memory.view(0x8000_0000, 4)[:] = b"abcd"
    memory.mark_written(0x8000_0000, 4)
    memory.write(0x8000_0000, b"")
    assert wrote == [(0x8000_0FF0, 16), (0x8000_0000, 4)]
    assert len(memory.view(0x8000_1000, 0)) == 0
    outside = ((0x7FFF_FFFF, 1), (0x8000_0FFF, 2), (0x8000_1000, 1), (0, 1), (1 << 64, 1), (0x8000_0000, -1), (-1, 5))
    for paddr, n in outside:
        with pytest.raises(OutOfMemory):
            memory.view(paddr, n)
    with pytest.raises(OutOfMemory):
        memory.write(0x8000_0FFF, b"xx")


def test_line():
    seen: list[tuple[int, int]] = []
    line = Line(lambda source, level: seen.append((source, level)), 7)
    line.set(True)
    line.set(False)
    assert seen == [(7, 1), (7, 0)]
