"""`popek boot`: the options become a Spec, the terminal becomes the serial console."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from popek.api import actions
from popek.api.errors import BadInput
from popek.api.spec import Disk, Spec, parse_size
from popek.faces import terminal
from popek.faces.commands.statistics import Report
from popek.faces.pump import Signals, pump

if TYPE_CHECKING:
    from popek.api.machine import Machine
    from popek.api.profile import Profile

STDIN, STDOUT, STDERR = 0, 1, 2


def main(chosen: argparse.Namespace, profile: Profile | None = None) -> int:
    """Run the machine on this terminal; the exit status."""
    spec = specification(chosen).checked()
    report = Report(chosen)
    raw = terminal.ours(STDIN)
    # A terminal in the background belongs to somebody else; anything else is the guest's input.
    source = -1 if os.isatty(STDIN) and not raw else STDIN
    with Signals() as signals, terminal.RawMode(STDIN) if raw else contextlib.nullcontext():
        keys = terminal.QemuKeys() if raw else terminal.PlainInput()
        ended = actions.boot(
            spec,
            lambda machine: pump(Serial(machine), source, keys, signals, say=_say),
            output=STDOUT,
            reboot=not chosen.no_reboot,
            dtb_out=chosen.dtb_out,
            statistics=report.wanted,
            progress=say if os.isatty(STDERR) else None,  # the first start of all compiles the machine
            warn=say,
            agreed=say,
            profile=profile,
        )
    report.take(ended.statistics)
    report.show()
    return ended.status


class Serial:
    """A machine whose input is its serial line, as the pump wants it."""

    def __init__(self, machine: Machine) -> None:
        self.done = machine.done
        self.feed = machine.serial_input
        self.backlog = machine.serial_backlog
        self.stop = machine.stop

    def end_of_input(self) -> None:
        """A serial line has no end: the guest just hears no more."""


def specification(chosen: argparse.Namespace) -> Spec:
    if chosen.kernel and chosen.kernel_option:
        raise BadInput("two kernels given", "give one")
    return Spec(
        kernel=chosen.kernel or chosen.kernel_option,
        initrd=chosen.initrd,
        append=chosen.append,
        bios=chosen.bios,
        memory=parse_size(chosen.memory),
        harts=number(chosen.smp, "--smp"),
        disks=tuple(disk(text) for text in chosen.disk),
        engine=chosen.engine,
        check=chosen.check,
        vector=Spec().vector if chosen.vector is None else chosen.vector,
    )


def number(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"{option} {text}: not a number") from None


def disk(text: str) -> Disk:
    """FILE[,ro][,snapshot][,backing=any][,format=F]; if there is a file of the whole name, it is that."""
    if os.path.exists(text):
        return Disk(text)
    path, *options = text.split(",")
    found = Disk(
        path,
        format=next((o.removeprefix("format=") for o in options if o.startswith("format=")), ""),
        readonly="ro" in options,
        overlay="snapshot" in options,
        backing_anywhere="backing=any" in options,
    )
    for option in options:
        if option not in ("ro", "snapshot", "backing=any") and not option.startswith("format="):
            hint = "there are ro, snapshot, backing=any, format=raw and format=qcow2"
            raise BadInput(f"--disk {text}: no option {option!r}", hint)
    return found


def say(text: str) -> None:
    """A line for people, on a terminal that may be raw."""
    print(f"popek: {text}", end="\r\n" if os.isatty(STDERR) else "\n", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(f"\r\npopek: {text}\r", file=sys.stderr, flush=True)
