"""Runs the guest that builds an image: what `images` is given because it may not know machines."""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from popek.api.machine import Machine
from popek.api.spec import Disk, Spec


class BuildDisk(Protocol):
    """A disk of the guest that builds."""

    @property
    def path(self) -> Path: ...

    @property
    def readonly(self) -> bool: ...


def run(
    kernel: Path, initrd: Path, append: str, disks: Sequence[BuildDisk], memory: int, line: Callable[[str], None]
) -> None:
    """Boot it and return when it has ended; `line` gets each line of its serial console.

    A KeyboardInterrupt goes through, and the machine is gone by then.
    """
    spec = Spec(
        kernel=str(kernel),
        initrd=str(initrd),
        append=append,
        memory=memory,
        disks=tuple(Disk(str(disk.path), "raw", disk.readonly) for disk in disks),
    )
    rest = b""

    def serial(data: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + data).split(b"\n")
        for text in lines:
            line(text.decode("utf-8", "replace").rstrip("\r"))

    with Machine(spec.checked(), serial_out=serial) as machine:
        machine.start()
        poll = select.poll()
        poll.register(machine.done, select.POLLIN)
        poll.poll()
        machine.wait()
