"""`popek run` as a user meets it. The images are built on first use, so without a Debian mirror these tests skip."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faces.shell import POPEK, OnTerminal, popek, read_until, start

FIRST = 1500  # seconds that a first build may take on a busy host


def built(name: str) -> str:
    """The image's name, once it is there."""
    done = popek("run", "--no-progress", name, "--", "true", timeout=FIRST)
    if done.returncode == 125 and any(word in done.stderr for word in (b"mirror", b"network", b"reach")):
        pytest.skip(f"no image: {done.stderr.decode().strip()}")
    assert done.returncode == 0, done.stderr
    return name


@pytest.fixture(scope="module")
def busybox():
    return built("busybox")


@pytest.fixture(scope="module")
def debian():
    return built("debian")


@pytest.mark.timeout(FIRST)
def test_debian(debian):
    """README's first command, and what the first issue promises of it."""
    done = popek("run", debian, "--", "uname", "-a")
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout.startswith(b"Linux ") and done.stdout.endswith(b"riscv64 GNU/Linux\n")
    assert popek("run", debian, "--", "sh", "-c", "exit 7").returncode == 7
    assert popek("run", debian, "--", "sh", stdin=b"echo hi\n").stdout == b"hi\n"
    done = popek("run", debian, "--", "sh", "-c", "apt-get --version && dpkg --audit && bash -c 'echo $BASH_VERSION'")
    assert done.returncode == 0, done


@pytest.mark.timeout(FIRST)
def test_interrupted_first_build(debian, tmp_path):
    """Ctrl-C in the middle of a build ends it at once, in silence, and leaves nothing behind but downloads."""
    from popek.images.catalog import home

    downloads = Path(home()) / "debian"
    if not any(downloads.glob("pool/*.deb")):
        pytest.skip("the downloads of the first build have been pruned")
    shutil.copytree(downloads, tmp_path / "popek" / "debian", copy_function=shutil.copy)
    process = start("run", debian, "--", "true", env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)})
    read_until(process.stderr.fileno(), b"preparing packages", 120)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 130 and b"Traceback" not in rest and b"Exception" not in rest
    assert list((tmp_path / "popek" / "images" / "debian").iterdir()) == []


@pytest.mark.timeout(FIRST)
def test_uname(busybox):
    done = popek("run", busybox, "--", "uname", "-m")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"riscv64\n", b"")


@pytest.mark.parametrize(
    "command, status",
    [
        (["sh", "-c", "exit 7"], 7),
        (["true"], 0),
        (["no-such-command"], 127),
        (["/etc"], 126),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "exit 255"], 255),
    ],
)
def test_exit_status(busybox, command, status):
    assert popek("run", busybox, "--", *command).returncode == status


def test_least_memory(busybox):
    assert popek("run", "--memory", "128M", busybox, "--", "true").returncode == 0
    done = popek("run", "--memory", "127M", busybox, "--", "true")
    assert done.returncode == 125 and b"128 MiB" in done.stderr and done.stderr.count(b"\n") == 1


def test_outputs_are_apart(busybox):
    done = popek("run", busybox, "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_words_arrive_as_they_are(busybox):
    words = ["a b", "'", '"', "$HOME", "*", "", "\n", "ä", "\\", "-n", "`id`"]
    done = popek("run", busybox, "--", "sh", "-c", 'for w; do printf "%s\\0" "$w"; done', "sh", *words)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_binary_through_pipes(busybox):
    data = os.urandom(1 << 20)
    assert popek("run", busybox, "--", "cat", stdin=data).stdout == data


def test_no_input(busybox):
    assert popek("run", busybox, "--", "sh", "-c", "cat; echo end").stdout == b"end\n"


def test_options(busybox):
    done = popek(
        "run", "--cpus", "2", "--memory", "256M", "-e", "A=b c", "-e", "HERE", "-w", "/tmp", "--name", "web-1", busybox,
        "--", "sh", "-c", 'nproc; echo "$A$HERE"; pwd; hostname', env=os.environ | {"HERE": "!"},
    )  # fmt: skip
    assert done.stdout.decode().split("\n") == ["2", "b c!", "/tmp", "web-1", ""]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(busybox, number):
    process = start("run", busybox, "--", "sh", "-c", "echo up; sleep 1000")
    assert read_until(process.stdout.fileno(), b"up\n") == b"up\n"
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 128 + number


def test_broken_pipe(busybox):
    process = start("run", busybox, "--", "yes")
    read_until(process.stdout.fileno(), b"y\n")
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_full_disk(busybox):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*POPEK, "run", busybox, "--", "echo", "x"], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 125 and b"space" in done.stderr and done.stderr.count(b"\n") == 1


def test_slow_reader_gets_everything(busybox):
    process = start("run", busybox, "--", "sh", "-c", "seq 200000; echo err >&2")
    time.sleep(4)
    out, err = process.communicate(timeout=60)
    assert out.split() == [str(i).encode() for i in range(1, 200001)]
    assert err == b"err\n" and process.returncode == 0


def test_terminal(busybox):
    with OnTerminal("run", busybox, columns=100, rows=40) as t:
        assert b"# " in t.until(b"# ")  # the shell may ask for the cursor right behind
        t.write(b"stty size; echo $TERM-; tty\n")
        assert b"40 100\r\n" in t.until(b"/dev/hvc0")
        t.until(b"# ")
        t.resize(77, 33)
        time.sleep(0.5)
        t.write(b"stty size\n")
        assert b"33 77\r\n" in t.until(b"77\r\n")
        t.until(b"# ")
        t.write(b"sleep 1000; echo not this\n")
        time.sleep(1)
        t.write(b"\x03")
        assert b"# " in t.until(b"# ")
        t.write(b"sleep 999 &\n")
        t.until(b"# ")
        t.write(b"jobs\n")
        assert b"Running" in t.until(b"Running")
        t.write(b"exit 5\n")
        assert t.wait() == 5


def test_leaving_by_key(busybox):
    with OnTerminal("run", busybox) as t:
        t.until(b"# ")
        t.write(b"\x1d\x1d\x1d")
        assert t.wait() == 0


@pytest.mark.timeout(FIRST)
def test_statistics(busybox, tmp_path):
    """They are told apart from what the command says, and change nothing of it."""
    command = [busybox, "--", "sh", "-c", "echo out; echo err >&2; exit 3"]
    plain = popek("run", *command)
    assert (plain.returncode, plain.stdout, plain.stderr) == (3, b"out\n", b"err\n")
    done = popek("run", "--stats", *command)
    assert done.returncode == 3 and done.stdout == b"out\n" and done.stderr.startswith(b"err\n")
    assert b"instructions retired" in done.stderr and b"translating" in done.stderr
    file = tmp_path / "statistics"
    done = popek("run", "--stats-out", str(file), *command)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    written = json.loads(file.read_text())
    assert sum(part["instructions"] for part in written["engines"].values()) == written["instructions"] > 10_000_000
    done = popek("run", "--json", *command)
    *before, last = done.stderr.splitlines()
    assert done.returncode == 3 and before == [b"err"] and json.loads(last).keys() == written.keys()


def test_statistics_cannot_be_written():
    """It is said before an image is looked for."""
    done = popek("run", "--stats-out", "/nowhere/there", "debian", "--", "true")
    assert done.returncode == 125 and done.stderr == b"popek: /nowhere/there: No such file or directory\n"
