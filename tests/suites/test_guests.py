"""Unmodified operating systems and firmware, from the first instruction to power-off. POPEK_GUESTS names their folder.

It holds Image (a Linux kernel for riscv64), initrd.gz (prints POPEK-MARK, its number of processors, and powers off),
shell.gz (a shell on the console), fw_jump.bin and fw_dynamic.bin (OpenSBI), u-boot.bin (for S-mode), and xv6/kernel,
xv6/fs.img. What is not there is not tested.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from popek.api.machine import Machine
from popek.api.spec import Disk, Spec

FOLDER = Path(os.environ.get("POPEK_GUESTS", "/nonexistent"))
QUIET = "console=ttyS0 quiet panic=-1"
LIMIT = 120


def need(*names: str) -> list[str]:
    """Paths of guests; skips the test when one is missing."""
    paths = [FOLDER / name for name in names]
    for path in paths:
        if not path.exists():
            pytest.skip(f"POPEK_GUESTS has no {path.name}")
    return [str(path) for path in paths]


class Talk:
    """A running machine and what it says."""

    def __init__(self, **how) -> None:
        self.said = b""
        how.setdefault("memory", 512 << 20)
        self.machine = Machine(Spec(rng=True, **how), serial_out=self._hear)

    def _hear(self, data: bytes) -> None:
        self.said += data

    def __enter__(self):
        self.machine.__enter__()
        self.machine.start()
        return self

    def __exit__(self, *error) -> None:
        self.machine.__exit__(*error)

    def ends(self):
        outcome = self.machine.wait(LIMIT)
        assert outcome is not None, self.said[-2000:].decode(errors="replace")
        return outcome

    def hears(self, text: bytes, after: int = 0) -> int:
        """Wait for `text`; the position behind it."""
        deadline = time.monotonic() + LIMIT
        while (at := self.said.find(text, after)) < 0:
            assert time.monotonic() < deadline, self.said[-2000:].decode(errors="replace")
            assert self.machine.wait(0.02) is None or text in self.said, self.said[-2000:].decode(errors="replace")
        return at + len(text)

    def says(self, text: bytes) -> None:
        self.machine.serial_input(text)


@pytest.mark.parametrize("harts", [1, 2, 3, 4, 8])
def test_linux_to_power_off(harts):
    kernel, initrd = need("Image", "initrd.gz")
    with Talk(kernel=kernel, initrd=initrd, append=QUIET, harts=harts) as talk:
        assert talk.ends() == ("off", 0)
    assert f"POPEK-MARK-1 riscv64 {harts}".encode() in talk.said


@pytest.mark.parametrize("firmware", ["fw_jump.bin", "fw_dynamic.bin"])
def test_linux_on_opensbi(firmware):
    bios, kernel, initrd = need(firmware, "Image", "initrd.gz")
    with Talk(bios=bios, kernel=kernel, initrd=initrd, append=QUIET, harts=2) as talk:
        assert talk.ends() == ("off", 0)
    assert b"OpenSBI v" in talk.said and b"POPEK-MARK-1 riscv64 2" in talk.said


def test_u_boot_to_its_prompt():
    bios, kernel = need("fw_jump.bin", "u-boot.bin")
    with Talk(bios=bios, kernel=kernel) as talk:
        at = talk.hears(b"stop autoboot")
        talk.says(b"\n")
        at = talk.hears(b"=> ", at)
        talk.says(b"version\n")
        at = talk.hears(b"U-Boot 20", at)
        talk.says(b"poweroff\n")
        assert talk.ends() == ("off", 0)


def test_linux_shell_sleeps_and_wakes():
    kernel, initrd = need("Image", "shell.gz")
    with Talk(kernel=kernel, initrd=initrd, append=QUIET, harts=2) as talk:
        talk.hears(b"# ")
        began = time.monotonic()
        talk.says(b"sleep 2; echo wo''ken\n")
        talk.hears(b"woken")
        assert 1.9 < time.monotonic() - began < 10
        talk.says(b"cd /sys/devices/system/cpu/cpu1; echo 0 > online; nproc; echo 1 > online; nproc\n")
        talk.hears(b"\n2\r")
        talk.says(b"reboot -f\n")
        assert talk.ends().kind == "reset"


@pytest.mark.parametrize("harts", [1, 3])
def test_xv6_shell(harts, tmp_path):
    kernel, disk = need("xv6/kernel", "xv6/fs.img")
    with Talk(kernel=kernel, disks=(Disk(disk, overlay=True),), harts=harts, memory=128 << 20) as talk:
        at = talk.hears(b"$ ")
        talk.says(b"echo one > x; cat x x | wc\n")
        talk.hears(b"2 2 8 ", at)
