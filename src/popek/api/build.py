"""Runs the guest that builds an image: what `images` is given because it may not know machines."""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from pathlib import Path

from popek.api.machine import Machine
from popek.api.spec import Disk, Spec


def run(
    kernel: Path,
    initrd: Path,
    cmdline: str,
    disks: Sequence,
    memory: int,
    on_control: Callable[[str], None],
    log: Path,
) -> int:
    """Boot it, give every console line to `on_control`, keep the console in `log`; 0 if it powered off by itself.

    A KeyboardInterrupt goes through, and the machine is gone by then.
    """
    spec = Spec(
        kernel=str(kernel),
        initrd=str(initrd),
        append=cmdline,
        memory=memory,
        disks=tuple(Disk(str(d.path), d.format, d.readonly) for d in disks),
    )
    rest = b""

    def serial(data: bytes) -> None:
        nonlocal rest
        file.write(data)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            on_control(line.decode("utf-8", "replace").rstrip("\r"))

    with open(log, "wb", buffering=0) as file, Machine(spec.checked(), serial_out=serial) as machine:
        machine.start()
        poll = select.poll()
        poll.register(machine.done, select.POLLIN)
        poll.poll()
        outcome = machine.wait()
    return 0 if outcome.kind == "off" else outcome.code or 1
