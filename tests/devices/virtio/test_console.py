"""The console with its ports: the handshake, bytes both ways, full pipes, ends of input."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest

from popek.devices.virtio import console, mmio
from popek.devices.virtio.console import Console
from popek.devices.virtio.port import Port
from tests.devices.virtio.guest import Driver


class Guest(Driver):
    """The console's driver: answers the handshake as Linux does."""

    def begin(self, without: int = 0) -> Guest:
        self.start(without)
        for queue in range(0, len(self.rings), 2):
            for _ in range(40):
                self.add(queue, [], [64], kick=False)
            self.put(mmio.QUEUE_NOTIFY, queue)
        return self

    def say(self, number: int, event: int, value: int) -> None:
        self.add(3, [struct.pack("<IHH", number, event, value)])
        self.used(3)

    def heard(self) -> list[tuple]:
        """Control messages from the device: number, event, value, the rest."""
        found = []
        for used in self.used(2):
            found.append((*struct.unpack("<IHH", used.data[:8]), used.data[8 : used.written]))
            self.add(2, [], [64])
        return found

    def handshake(self) -> list[tuple]:
        self.say(0xFFFF_FFFF, console.DEVICE_READY, 1)
        added = self.heard()
        heard = []
        for number, *_ in added:
            self.say(number, console.PORT_READY, 1)
            heard += self.heard()
            self.say(number, console.PORT_OPEN, 1)
        return [*added, *heard]

    def queue(self, number: int) -> int:
        return 2 * number + 2 if number else 0

    def got(self, number: int) -> bytes:
        """What the device sent to a port."""
        data = b""
        for used in self.used(self.queue(number)):
            data += used.data[: used.written]
            self.add(self.queue(number), [], [64])
        return data

    def write(self, number: int, data: bytes) -> None:
        self.add(self.queue(number) + 1, [data])


@pytest.fixture
def taken() -> list[bytes]:
    return []


@pytest.fixture
def guest(taken):
    ports = [Port("tty", taken.append, console=True), Port("in"), Port("out", taken.append)]
    driver = Guest(Console(ports, (100, 40))).begin()
    yield driver
    driver.mmio.close()


def ports(guest: Driver) -> list[Port]:
    return guest.mmio.device.ports


def wait(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_handshake(guest) -> None:
    assert guest.handshake() == [
        (0, console.PORT_ADD, 0, b""), (1, console.PORT_ADD, 0, b""), (2, console.PORT_ADD, 0, b""),
        (0, console.CONSOLE_PORT, 1, b""), (0, console.PORT_NAME, 1, b"tty\0"),
        (0, console.RESIZE, 0, struct.pack("<HH", 100, 40)), (0, console.PORT_OPEN, 1, b""),
        (1, console.PORT_NAME, 1, b"in\0"), (1, console.PORT_OPEN, 1, b""),
        (2, console.PORT_NAME, 1, b"out\0"), (2, console.PORT_OPEN, 1, b""),
    ]  # fmt: skip


def test_bytes_both_ways(guest, taken) -> None:
    guest.handshake()
    ports(guest)[1].feed(b"to the guest")
    assert guest.got(1) == b"to the guest" and ports(guest)[1].backlog() == 0
    guest.write(2, b"from the guest")
    guest.write(0, b"from its terminal")
    assert taken == [b"from the guest", b"from its terminal"]
    assert len(guest.used(7)) == 1


def test_nothing_is_lost_before_the_guest_is_ready() -> None:
    port = Port("in")
    guest = Guest(Console([Port("tty", console=True), port]))
    port.feed(b"early ")
    port.feed(b"bytes")
    port.end_of_input()
    assert port.backlog() == 11
    guest.begin()
    guest.say(0, console.DEVICE_READY, 1)
    guest.heard()
    guest.say(1, console.PORT_READY, 1)
    assert guest.got(1) == b""  # nobody has opened it: Linux would throw bytes away
    guest.say(1, console.PORT_OPEN, 1)
    assert guest.got(1) == b"early bytes"
    assert [m[1:3] for m in guest.heard()] == [(console.PORT_NAME, 1), (console.PORT_OPEN, 1), (console.PORT_OPEN, 0)]


def test_much_input_waits_for_buffers(guest) -> None:
    guest.handshake()
    data = os.urandom(100_000)
    ports(guest)[1].feed(data)
    ports(guest)[1].end_of_input()
    got = b""
    heard = []
    while len(got) < len(data):
        assert not heard or not ports(guest)[1].backlog()
        more = guest.got(1)
        assert more
        got += more
        heard += guest.heard()
    assert got == data
    assert heard == [(1, console.PORT_OPEN, 0, b"")]
    ports(guest)[1].feed(b"again")
    assert guest.heard() == [(1, console.PORT_OPEN, 1, b"")] and guest.got(1) == b"again"


def test_resize_reaches_the_guest(guest) -> None:
    guest.handshake()
    guest.mmio.device.resize(132, 43)
    assert guest.heard() == [(0, console.RESIZE, 0, struct.pack("<HH", 132, 43))]


def test_without_multiport(taken) -> None:
    port = Port("tty", taken.append, console=True)
    guest = Guest(Console([port])).begin(without=console.MULTIPORT)
    port.feed(b"hello")
    assert guest.got(0) == b"hello"
    guest.write(0, b"you")
    assert taken == [b"you"]


def test_answers_from_within_the_sink() -> None:
    """`ready` comes in, the request goes out, all on the hart's thread."""
    holder: list[Port] = []
    holder.append(Port("control", lambda data: holder[0].feed(data.upper())))
    guest = Guest(Console([Port("tty", console=True), holder[0]])).begin()
    guest.handshake()
    guest.write(1, b"ready")
    assert guest.got(1) == b"READY"


@pytest.mark.parametrize("is_console", [False, True])
def test_a_full_pipe_does_not_hold_the_hart(is_console) -> None:
    read, write = os.pipe()
    port = Port("out", write, console=is_console)
    guest = Guest(Console([Port("tty", console=True), port] if not is_console else [port])).begin()
    guest.handshake()
    number = 0 if is_console else 1
    data = os.urandom(300_000)
    sent = 0
    started = time.monotonic()
    while sent < len(data) and len(guest.rings[guest.queue(number) + 1].free) > 1:
        guest.write(number, data[sent : sent + 20_000])
        sent += 20_000
        guest.used(guest.queue(number) + 1)
    assert time.monotonic() - started < 2
    written = threading.Event()
    port.after_output(written.set)
    assert not written.is_set()
    got = b""
    while len(got) < len(data):
        got += os.read(read, 65536)
        if sent < len(data):
            guest.write(number, data[sent : sent + 20_000])
            sent += 20_000
        guest.used(guest.queue(number) + 1)
    assert got == data
    assert written.wait(5)
    guest.mmio.close()
    os.close(read)
    os.close(write)


def test_a_guest_write_is_finished_when_it_is_written() -> None:
    read, write = os.pipe()
    guest = Guest(Console([Port("tty", console=True), Port("out", write)])).begin()
    guest.handshake()
    guest.write(1, bytes(100_000))
    assert not guest.used(5)
    left = 100_000
    while left:
        left -= len(os.read(read, left))
    wait(lambda: guest.used(5))
    guest.mmio.close()
    os.close(read)
    os.close(write)


def test_output_in_order_of_kicks(guest, taken) -> None:
    guest.handshake()
    for n in range(200):
        guest.write(n % 2 * 2, b"%d" % n)
        guest.used(1)
        guest.used(7)
    assert taken == [b"%d" % n for n in range(200)]


def test_broken_pipe() -> None:
    read, write = os.pipe()
    os.close(read)
    lost: list[OSError] = []
    port = Port("out", write, lost=lost.append)
    guest = Guest(Console([Port("tty", console=True), port])).begin()
    guest.handshake()
    for _ in range(3):
        guest.write(1, b"nobody reads this")
    assert len(guest.used(5)) == 3 and len(lost) == 1 and port.broken
    guest.mmio.close()
    os.close(write)


def test_regular_files(tmp_path) -> None:
    with open(tmp_path / "out", "wb") as file:
        guest = Guest(Console([Port("tty", console=True), Port("out", file.fileno())])).begin()
        guest.handshake()
        guest.write(1, b"x" * 50_000)
        assert len(guest.used(5)) == 1
        guest.mmio.close()
    assert (tmp_path / "out").read_bytes() == b"x" * 50_000


def test_closing_while_nobody_reads(monkeypatch) -> None:
    monkeypatch.setattr("popek.devices.virtio.port.STUCK_SECONDS", 0.1)
    read, write = os.pipe()
    guest = Guest(Console([Port("tty", console=True), Port("out", write)])).begin()
    guest.handshake()
    guest.write(1, bytes(200_000))
    before = time.monotonic()
    guest.mmio.close()
    assert time.monotonic() - before < 2
    os.close(read)
    os.close(write)


def test_reset_begins_anew(guest, taken) -> None:
    first = guest.handshake()
    guest.begin()
    assert guest.handshake() == first
    ports(guest)[1].feed(b"x")
    assert guest.got(1) == b"x"


@pytest.mark.parametrize(
    "message",
    [b"", b"short", struct.pack("<IHH", 99, console.PORT_READY, 1), struct.pack("<IHH", 0, 77, 1),
     struct.pack("<IHH", 0xFFFF_FFFF, console.PORT_OPEN, 1), struct.pack("<IHH", 0, console.PORT_READY, 0) + bytes(99)],
)  # fmt: skip
def test_odd_messages(guest, message) -> None:
    guest.handshake()
    if message:
        guest.add(3, [message])
    else:
        guest.add(3, [], [8])
    assert not guest.broken() and not guest.heard()


def test_control_messages_nobody_takes(guest) -> None:
    for _ in range(3000):
        guest.say(0, console.PORT_READY, 1)
        if guest.broken():
            break
    assert guest.broken()


def test_too_much_at_once(guest) -> None:
    guest.write(2, bytes(console.MAX_WRITE + 1))
    assert guest.broken()
