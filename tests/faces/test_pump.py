"""faces/pump: input reaches the guest, signals and keys end it, back pressure holds."""

import os
import signal
import threading
import time

import pytest

from popek.faces.pump import CHUNK, Signals, pump
from popek.faces.terminal import PlainInput, QemuKeys


class FakeGuest:
    def __init__(self):
        self.done, self.end = os.pipe()
        self.got = b""
        self.ended = False
        self.stopped = False
        self.full = 0

    def feed(self, data):
        self.got += data

    def end_of_input(self):
        self.ended = True

    def backlog(self):
        return self.full

    def stop(self):
        self.stopped = True

    def finish(self):
        os.write(self.end, b"x")


@pytest.fixture
def guest():
    guest = FakeGuest()
    yield guest
    os.close(guest.done)
    os.close(guest.end)


def test_input_then_end(guest):
    source, write = os.pipe()
    os.write(write, b"hello")
    os.close(write)
    threading.Timer(0.2, guest.finish).start()
    with Signals() as signals:
        assert pump(guest, source, PlainInput(), signals) == 0
    assert guest.got == b"hello" and guest.ended and not guest.stopped
    os.close(source)


def test_no_input(guest):
    guest.finish()
    with Signals() as signals:
        assert pump(guest, -1, PlainInput(), signals) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop(guest, number):
    with Signals() as signals:
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        assert pump(guest, -1, PlainInput(), signals) == number
    assert guest.stopped
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_can_be_handled(guest):
    seen = []

    def on_signal(number):
        seen.append(number)
        guest.finish()
        return True

    with Signals((signal.SIGWINCH,)) as signals:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGWINCH)).start()
        assert pump(guest, -1, PlainInput(), signals, on_signal=on_signal) == 0
    assert seen == [signal.SIGWINCH]


def test_leaving_by_key(guest):
    source, write = os.pipe()
    os.write(write, b"abc\x01hdef\x01xghi")
    said = []
    with Signals() as signals:
        assert pump(guest, source, QemuKeys(), signals, say=said.append) == -1
    assert guest.got == b"abcdef" and guest.stopped


def test_back_pressure(guest):
    source, write = os.pipe()
    os.write(write, b"hello")
    guest.full = CHUNK
    threading.Timer(0.3, guest.finish).start()
    began = time.process_time()
    with Signals() as signals:
        assert pump(guest, source, PlainInput(), signals) == 0
    assert guest.got == b"" and time.process_time() - began < 0.1
    os.close(source)
    os.close(write)
