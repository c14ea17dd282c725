"""`popek boot` as a user meets it: output, input, exit status, terminal, and every kind of wrong input."""

import gzip
import json
import os
import re
import signal
import time

import pytest

from tests import elves
from tests.faces.shell import OnTerminal, popek, read_until, start

OFF = elves.finish(0x5555)
ENGINES = ("template", "reference")


@pytest.fixture
def program(tmp_path):
    def make(code: bytes, **how) -> str:
        path = tmp_path / "program.elf"
        path.write_bytes(elves.elf(code, **how))
        return str(path)

    return make


@pytest.mark.parametrize("engine", ENGINES)
def test_output_and_power_off(program, engine):
    done = popek("boot", program(elves.say(b"hello\n") + OFF), "--engine", engine)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


@pytest.mark.parametrize("code, status", [(7, 7), (1, 1), (255, 255), (256, 1)])
def test_failure_code_is_the_exit_status(program, code, status):
    assert popek("boot", program(elves.finish(code << 16 | 0x3333))).returncode == status


def test_reset_ends_with_no_reboot(program):
    done = popek("boot", "--no-reboot", program(elves.say(b"x") + elves.finish(0x7777)))
    assert (done.returncode, done.stdout) == (0, b"x")


def test_reset_reboots(program):
    process = start("boot", program(elves.say(b"once.") + elves.finish(0x7777)))
    try:
        assert b"once.once.once." in read_until(process.stdout.fileno(), b"once.once.once.")
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM


def test_piped_input(program):
    text = b"The quick brown fox\n" * 20
    done = popek("boot", program(elves.echo_until(4) + OFF), stdin=text + b"\x04 ignored")
    assert (done.returncode, done.stdout) == (0, text + b"\x04")


def test_end_of_input_does_not_end_the_guest(program):
    process = start("boot", program(elves.say(b"up") + elves.words(elves.WFI, 0xFFDFF06F)))
    assert read_until(process.stdout.fileno(), b"up") == b"up"
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


@pytest.mark.parametrize("loop", [elves.words(elves.HANG), elves.words(elves.WFI, 0xFFDFF06F)], ids=["busy", "idle"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals(program, loop, number):
    process = start("boot", "--smp", "2", program(elves.say(b"up") + loop))
    assert b"up" in read_until(process.stdout.fileno(), b"up")
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 128 + number


ENDLESS = elves.say(b"y\n") + elves.words(0xFEDFF06F)  # from the last character store on, again


def test_a_stalled_reader_cannot_hold_us(program):
    process = start("boot", program(ENDLESS))
    read_until(process.stdout.fileno(), b"y\n")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.communicate()


def test_broken_pipe_is_no_error(program):
    process = start("boot", program(ENDLESS))
    read_until(process.stdout.fileno(), b"y\n")
    process.stdout.close()
    assert process.wait(10) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_statistics(program):
    done = popek("boot", "--stats", "--json", program(elves.say(b"hi") + OFF))
    assert json.loads(done.stderr)
    done = popek("boot", "--stats", program(elves.say(b"hi") + OFF))
    assert done.stdout == b"hi" and b"instructions" in done.stderr.lower()


def test_device_tree_is_written(program, tmp_path):
    path = tmp_path / "machine.dtb"
    assert popek("boot", program(OFF), "--dtb-out", str(path)).returncode == 0
    assert path.read_bytes()[:4] == b"\xd0\x0d\xfe\xed"


def test_on_a_terminal(program):
    with OnTerminal("boot", program(elves.say(b"ready") + elves.echo_until(ord("q")) + OFF)) as t:
        assert t.until(b"ready").endswith(b"ready")
        t.write(b"a\x03\x1a\x01\x01")  # Ctrl-C, Ctrl-Z and Ctrl-A reach the guest
        assert t.until(b"\x01") == b"a\x03\x1a\x01"
        t.write(b"q")
        assert t.wait() == 0


def test_leaving_by_key(program):
    with OnTerminal("boot", program(elves.say(b"ready") + elves.words(elves.HANG))) as t:
        t.until(b"ready")
        t.write(b"\x01h")
        assert b"Ctrl-A x leaves" in t.until(b"leaves")
        t.write(b"\x01x")
        assert t.wait() == 0


HELLO = elves.say(b"hello") + OFF


@pytest.mark.parametrize(
    "content, says",
    [
        (b"just some text\n" * 9, "text file"),
        (elves.elf(HELLO)[:-30], "truncated"),
        (elves.elf(HELLO, machine=62), "x86-64"),
        (elves.elf(HELLO, machine=183), "AArch64"),
        (elves.elf(HELLO, klass=1), "64-bit"),
        (elves.linux_image(in_memory=600 << 20), "fit"),
        (gzip.compress(bytes(600 << 20), 1), "512 MiB"),
        (b"", "empty"),
    ],
    ids=["text", "truncated", "x86", "arm", "rv32", "large", "bomb", "empty"],
)
def test_wrong_kernels(tmp_path, content, says):
    path = tmp_path / "kernel"
    path.write_bytes(content)
    one_line(popek("boot", str(path)), says)


@pytest.mark.parametrize(
    "line, says",
    [
        ("K --smp 0", "harts"),
        ("K --smp 9", "harts"),
        ("K --smp -1", "harts"),
        ("K --smp two", "number"),
        ("K --memory nonsense", "memory"),
        ("K --memory 0", "memory"),
        ("K --memory 1k", "memory"),
        ("K --memory 99999G", "memory"),
        ("K --memory 4097k", "pages"),
        ("K --engine turbo", "engine"),
        ("K --initrd /nonexistent", "no such file"),
        ("K --bios /nonexistent", "no such file"),
        ("K --disk /nonexistent", "/nonexistent"),
        ("K --disk /tmp", "/tmp"),
        ("K --dtb-out /nonexistent/x", "/nonexistent/x"),
        ("/nonexistent", "no such file"),
        ("/", "folder"),
        ("", "nothing to start"),
        ("K --nonsense", "--nonsense"),
        ("K K2", "K2"),
    ],
)
def test_wrong_options(program, line, says):
    kernel = program(HELLO)
    one_line(popek("boot", *(kernel if word == "K" else word for word in line.split())), says)


def test_too_large_initrd(program, tmp_path):
    initrd = tmp_path / "initrd"
    with open(initrd, "wb") as file:
        file.truncate(600 << 20)
    one_line(popek("boot", program(HELLO), "--initrd", str(initrd)), "fit")


def test_closed_standard_files(program):
    """`popek boot ... <&- >&-`: none of our own files may get their numbers."""
    path = program(elves.say(b"hello") + OFF)
    for closed in (0, 1, 2):
        command = f'exec {closed}<&-; exec "$@"'
        done = popek_through_shell(command, "boot", path)
        assert done.returncode == 0
        assert done.stdout == (b"" if closed == 1 else b"hello")


def popek_through_shell(command: str, *arguments: str):
    import subprocess

    from tests.faces.shell import POPEK

    return subprocess.run(["sh", "-c", command, "sh", *POPEK, *arguments], capture_output=True, timeout=60)


def one_line(done, says: str) -> None:
    said = done.stderr.decode()
    assert done.returncode == 125, said
    assert said.startswith("popek: ") and said.count("\n") == 1, said
    assert re.search(says, said), said
    assert done.stdout == b""


def test_debug_shows_where(tmp_path):
    done = popek("boot", "/nonexistent", env=os.environ | {"POPEK_DEBUG": "1"})
    assert done.returncode == 125 and b"Traceback" in done.stderr
