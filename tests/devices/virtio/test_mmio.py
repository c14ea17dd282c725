"""The registers: identity, features, status, configuration, interrupts."""

from __future__ import annotations

import pytest

from popek.devices.virtio import mmio
from popek.devices.virtio.console import Console
from popek.devices.virtio.port import Port
from popek.devices.virtio.rng import Rng
from tests.devices.virtio.guest import BASE, Driver


@pytest.fixture
def guest() -> Driver:
    return Driver(Rng())


def test_identity(guest) -> None:
    assert guest.get(0).to_bytes(4, "little") == b"virt"
    assert guest.get(4) == 2 and guest.get(8) == 4 and guest.get(12) == mmio.VENDOR


@pytest.mark.parametrize("features", [mmio.VERSION_1 | 1 << 50, mmio.VERSION_1 | 1, 1 << 63, 1])
def test_features_that_were_not_offered(guest, features) -> None:
    assert not guest.negotiate(features)


def test_drivers_written_for_qemu() -> None:
    """xv6 looks for QEMU's vendor and does not say VERSION_1, which a device may accept (6.2)."""
    guest = Driver(Rng(lambda n: b"R" * n))
    assert guest.get(mmio.VENDOR_ID) == 0x554D4551
    guest.start(without=mmio.VERSION_1 | mmio.EVENT_IDX | mmio.INDIRECT_DESC, size=8)
    guest.add(0, [], [4])
    assert guest.used(0)[0].data == b"RRRR"


def test_features(guest) -> None:
    assert guest.offered() == mmio.VERSION_1 | mmio.EVENT_IDX | mmio.INDIRECT_DESC
    assert guest.negotiate(mmio.VERSION_1)
    guest.put(mmio.DRIVER_FEATURES_SEL, 0)
    guest.put(mmio.DRIVER_FEATURES, 0xFFFF_FFFF)  # too late
    guest.put(mmio.STATUS, 15)
    assert guest.status() == 15


def test_feature_words_beyond_the_second(guest) -> None:
    guest.put(mmio.DEVICE_FEATURES_SEL, 0xFFFF_FFFF)
    assert guest.get(mmio.DEVICE_FEATURES) == 0


def test_status_only_grows_and_zero_resets(guest) -> None:
    guest.put(mmio.STATUS, 1)
    guest.put(mmio.STATUS, 2)
    assert guest.status() == 3
    guest.put(mmio.STATUS, 0x40)  # NEEDS_RESET is the device's
    assert guest.status() == 3
    guest.put(mmio.STATUS, 0)
    assert guest.status() == 0


def test_ready_before_features(guest) -> None:
    guest.put(mmio.STATUS, 4)
    assert guest.broken()


def test_nothing_happens_before_the_driver_is_ready(guest) -> None:
    guest.start()
    guest.put(mmio.STATUS, 0)
    assert guest.negotiate(mmio.VERSION_1)
    guest.put(mmio.QUEUE_NOTIFY, 0)
    assert guest.status() == 11


def test_buffers_from_before_ready_are_served() -> None:
    guest = Driver(Rng(lambda n: b"R" * n)).start()
    guest.put(mmio.STATUS, 0)
    real, guest.put = guest.put, lambda o, v, size=4: None if (o, v) == (mmio.STATUS, 15) else real(o, v, size)
    guest.start()
    guest.add(0, [], [4])
    assert not guest.used(0)
    real(mmio.STATUS, 15)
    assert guest.used(0)[0].data == b"RRRR"


def test_odd_accesses(guest) -> None:
    for size in (1, 2, 8):
        assert guest.get(0, size) == 0
        guest.put(mmio.STATUS, 1, size)
    assert guest.status() == 0
    for offset in range(0, mmio.SIZE, 4):
        guest.get(offset)
    assert guest.get(0xFFC) == 0 and guest.get(0xFFF, 4) == 0


@pytest.mark.parametrize("index", [1, 1000, 0xFFFF_FFFF])
def test_queues_that_are_not_there(guest, index) -> None:
    guest.start()
    guest.put(mmio.QUEUE_NOTIFY, index)
    guest.put(mmio.QUEUE_SEL, index)
    assert guest.get(mmio.QUEUE_NUM_MAX) == 0 and guest.get(mmio.QUEUE_READY) == 0
    guest.put(mmio.QUEUE_NUM, 4)
    guest.put(mmio.QUEUE_READY, 1)
    assert guest.status() == 15


def test_a_queue_in_use_keeps_its_place(guest) -> None:
    guest.start()
    guest.put(mmio.QUEUE_SEL, 0)
    guest.put(mmio.QUEUE_DESC, 0)
    guest.put(mmio.QUEUE_NUM, 0)
    guest.add(0, [], [4])
    assert guest.used(0) and not guest.broken()


def test_taking_a_queue_back(guest) -> None:
    guest.start()
    guest.put(mmio.QUEUE_SEL, 0)
    guest.put(mmio.QUEUE_READY, 0)
    assert guest.get(mmio.QUEUE_READY) == 0
    guest.put(mmio.QUEUE_NOTIFY, 0)
    guest.mmio.device.handle_queue(0)
    assert not guest.broken()


def test_interrupt_status_and_acknowledgement(guest) -> None:
    guest.start()
    guest.add(0, [], [4])
    assert guest.line.level and guest.get(mmio.INTERRUPT_STATUS) == mmio.USED_BUFFER
    guest.put(mmio.INTERRUPT_ACK, mmio.CONFIG_CHANGE)
    assert guest.line.level
    guest.put(mmio.INTERRUPT_ACK, 0xFFFF_FFFF)
    assert not guest.line.level and guest.get(mmio.INTERRUPT_STATUS) == 0


def test_configuration_changes() -> None:
    console = Console([Port("tty", console=True)], (80, 24))
    guest = Driver(console).start()
    assert guest.get(0x100, 2) == 80 and guest.get(0x102, 2) == 24 and guest.get(0x104) == 1
    before = guest.get(mmio.CONFIG_GENERATION)
    console.resize(132, 50)
    assert guest.get(0x100) == 50 << 16 | 132
    assert guest.get(mmio.CONFIG_GENERATION) != before
    assert guest.acknowledge() == mmio.CONFIG_CHANGE
    assert guest.get(0x100 + 11, 4) == 0 and guest.get(0x100 + 100) == 0
    guest.put(0x100, 0xFFFF_FFFF)
    assert guest.get(0x100) == 50 << 16 | 132


def test_shared_memory_there_is_none(guest) -> None:
    assert guest.get(0xB0) == guest.get(0xB4) == 0xFFFF_FFFF


def test_closing_lets_go_of_memory(guest) -> None:
    guest.start()
    guest.add(0, [], [16])
    guest.mmio.close()
    del guest.memory._memory
    guest.map.close()  # BufferError if anybody still had a view


def test_rng_is_random_and_bounded() -> None:
    guest = Driver(Rng()).start()
    guest.add(0, [], [4096])
    guest.add(0, [], [1 << 20])
    first, second = guest.used(0)
    assert first.written == 4096 and len(set(first.data)) > 200
    assert second.written == 1 << 16
    guest.add(0, [b"odd"], [])
    assert guest.used(0)[0].written == 0
    assert BASE
