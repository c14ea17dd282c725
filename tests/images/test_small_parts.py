"""cpio archives, words of the agent's protocol, names of busybox's commands, the scripts themselves."""

import io
import shutil
import subprocess
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popek.images import agent, initramfs, kernel
from popek.images.cpio import Cpio
from popek.images.errors import BadPackage

from .made_up import module


def test_cpio_read_by_cpio() -> None:
    buffer = io.BytesIO()
    out = Cpio(buffer)
    out.file("a/b/c", b"hello", 0o640)
    out.link("l", "a/b/c")
    out.device("dev/console", "c", 5, 1)
    out.hard_links(["h1", "h2"], b"twice", 0o755)
    out.folder("a")
    with pytest.raises(ValueError, match="already"):
        out.link("a/b/c", "x")
    out.close()
    data = buffer.getvalue()
    assert len(data) % 512 == 0 and data.startswith(b"070701")
    if shutil.which("cpio"):
        run = subprocess.run(["cpio", "-itvn"], input=data, capture_output=True, check=True)
        rows = [line.split() for line in run.stdout.decode().splitlines()]
        assert [(row[0], row[-1]) for row in rows] == [
            ("drwxr-xr-x", "a"),
            ("drwxr-xr-x", "a/b"),
            ("-rw-r-----", "a/b/c"),
            ("lrwxrwxrwx", "a/b/c"),
            ("drwxr-xr-x", "dev"),
            ("crw-------", "dev/console"),
            ("-rwxr-xr-x", "h1"),
            ("-rwxr-xr-x", "h2"),
        ]


def test_requests() -> None:
    assert agent.run(["uname", "-a"], tty=False) == "run pipe uname -a\n"
    assert agent.run([], tty=True) == "run tty\n"
    assert (
        agent.requests(["sh", "-c", "exit 7"], False, {"A": "b c", "9x": "no"}, "/tmp")
        == b"env $'A=b\\x20c'\ndir /tmp\nrun pipe sh -c $'exit\\x207'\n"
    )
    assert agent.parse(b"exit 7\n") == ("exit", "7") and agent.exit_status("300") == 44
    assert agent.exit_status("x") == 125
    with pytest.raises(ValueError, match="NUL"):
        agent.word("a\0b")


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=40).filter(lambda raw: b"\0" not in raw))
def test_words_are_one_line_and_come_back(raw: bytes) -> None:
    text = agent.word(raw)
    assert "\n" not in text and text.isascii() and " " not in text
    if shutil.which("bash"):
        back = subprocess.run(["bash", "-c", f"printf %s {text}"], capture_output=True, check=True, env={"LC_ALL": "C"})
        assert back.stdout == raw


def test_busybox_commands() -> None:
    assert initramfs.applets(b"x\xff[\0[[\0acpid\0zcat\0\0y\0") == ["[", "[[", "acpid", "zcat"]
    with pytest.raises(BadPackage):
        initramfs.applets(b"nothing")


def test_module_information() -> None:
    assert kernel.depends(module("a,b"), "x") == ["a", "b"] and kernel.depends(module(), "x") == []
    for damaged in (b"", b"\x7fELF", module()[:70], b"MZ" * 100, module()[:40] + b"\xff" * 60):
        with pytest.raises(BadPackage):
            kernel.depends(damaged, "x")


@pytest.mark.parametrize("name", ["agent.sh", "child.sh", "run-disk.sh", "run-memory.sh", "build.sh"])
def test_scripts_are_shell(name: str) -> None:
    script = files("popek.images") / "guest" / name
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "/usr/bin/env" not in script.read_text()
