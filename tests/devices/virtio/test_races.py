"""Several harts, a worker and the host at one device at once: no exception, no deadlock, nothing lost."""

from __future__ import annotations

import random
import threading
import time

import pytest

from popek.devices.virtio import blk, mmio
from popek.devices.virtio.console import Console
from popek.devices.virtio.port import Port
from tests.devices.virtio.guest import Driver
from tests.devices.virtio.test_blk import Store, finish, header

SECONDS = 1.0


class Sleepy(Store):
    """Sometimes slow."""

    def _enter(self, *call) -> None:
        if random.random() < 0.1:
            time.sleep(0.003)


def together(*functions) -> None:
    """Each over and over in a thread of its own; their exceptions are raised here."""
    failures: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def over_and_over(function) -> None:
        try:
            while time.monotonic() < end:
                function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=over_and_over, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 20)
        assert not thread.is_alive(), "a deadlock"
    if failures:
        raise failures[0]


@pytest.mark.parametrize("resets", [False, True])
def test_disk(resets) -> None:
    guest = Driver(blk.Block(Sleepy())).start()
    lock = threading.Lock()  # the guest's own, around its ring
    rng = random.Random(1)
    posted = answered = 0

    def post() -> None:
        nonlocal posted, answered
        with lock:
            answered += len(guest.used(0))
            if len(guest.rings[0].free) > 3:
                posted += 1
                kind = rng.choice((blk.T_IN, blk.T_FLUSH))
                guest.add(0, [header(kind)], [512, 1] if kind == blk.T_IN else [1], kick=False)
        guest.put(mmio.QUEUE_NOTIFY, 0)

    def interrupt() -> None:
        if guest.line.level:
            guest.acknowledge()

    def reset() -> None:
        time.sleep(0.02)
        with lock:
            guest.start()

    together(post, post, interrupt, *([reset] if resets else []))
    assert not guest.reports
    if resets:
        guest.start()
        guest.add(0, [header(blk.T_IN)], [512, 1])
        finish(guest)
    else:
        deadline = time.monotonic() + 10
        while answered < posted and time.monotonic() < deadline:
            answered += len(guest.used(0))
        assert answered == posted
    guest.mmio.close()


def test_console() -> None:
    taken: list[bytes] = []
    port = Port("tty", taken.append, console=True)
    console = Console([port])
    guest = Driver(console).start()
    lock = threading.Lock()
    sent = received = 0

    def feed() -> None:
        nonlocal sent
        if port.backlog() < 1000:
            port.feed(b"x" * 10)
            sent += 10

    def take() -> None:
        nonlocal received
        with lock:
            received += sum(used.written for used in guest.used(0))
            while len(guest.rings[0].free) > 20:
                guest.add(0, [], [16], kick=False)
        guest.put(mmio.QUEUE_NOTIFY, 0)

    def write() -> None:
        with lock:
            guest.used(1)
            guest.add(1, [b"y"], kick=False)
        guest.put(mmio.QUEUE_NOTIFY, 1)

    together(feed, take, write, lambda: console.resize(random.randrange(99), 5))
    deadline = time.monotonic() + 10
    while received < sent and time.monotonic() < deadline:
        take()
    assert received == sent and taken and not guest.reports
    guest.mmio.close()
