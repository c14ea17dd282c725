"""faces/terminal: escape keys, and a terminal that comes back whatever happens to the process."""

import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest

from popek.faces.terminal import PlainInput, QemuKeys, TripleKey


def test_qemu_keys():
    keys = QemuKeys()
    assert keys.feed(b"abc") == (b"abc", "")
    assert keys.feed(b"a\x01\x01b") == (b"a\x01b", "")
    assert keys.feed(b"\x01h") == (b"", "help")
    assert keys.feed(b"\x01q") == (b"\x01q", "")
    assert keys.feed(b"last\x01") == (b"last", "")
    assert keys.feed(b"xrest") == (b"", "leave")


def test_triple_key():
    now = [0.0]
    keys = TripleKey(lambda: now[0])
    assert keys.feed(b"ls\x1d") == (b"ls\x1d", "")
    assert keys.feed(b"\x1d") == (b"\x1d", "")
    now[0] = 2.0
    assert keys.feed(b"\x1d") == (b"\x1d", "")
    assert keys.feed(b"\x1dx\x1d")[1] == ""
    assert keys.feed(b"\x1d\x1d")[1] == "leave"


def test_plain_input_is_left_alone():
    assert PlainInput().feed(b"\x01x\x1d\x1d\x1d") == (b"\x01x\x1d\x1d\x1d", "")


PROGRAM = """
import os, signal, sys
from popek.faces.terminal import RawMode
with RawMode(0):
    print("raw", flush=True)
    sys.stdin.read(1)
    {end}
"""


@pytest.mark.parametrize(
    "end",
    ["pass", "raise ValueError", "sys.exit(3)", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "os.abort()"],
)
def test_the_terminal_comes_back(end):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(end=end)], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    try:
        assert b"raw" in os.read(master, 100)
        during = termios.tcgetattr(slave)
        assert not during[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        assert not during[0] & termios.ICRNL
        os.write(master, b"\r")
        process.wait(10)
        deadline = time.monotonic() + 5
        while termios.tcgetattr(slave) != before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert termios.tcgetattr(slave) == before
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(master)
        os.close(slave)
