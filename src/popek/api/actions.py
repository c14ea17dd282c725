"""Everything a user can do, once: every face (command line, Python, REST) calls these functions and adds nothing.

What is here decides and waits; how a machine is put together is api/machine, how images are made is images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from popek.api.spec import Spec

if TYPE_CHECKING:
    from popek.api.machine import Machine


class Ended(NamedTuple):
    """How a machine ended."""

    kind: str  # "off", "reset", "fail", or "stopped" from outside
    status: int  # for a shell
    statistics: dict


def boot(
    spec: Spec,
    attend: Callable[[Machine], int],
    *,
    output: int | Callable[[bytes], None] = -1,
    reboot: bool = True,
    dtb_out: str = "",
) -> Ended:
    """Run a machine to its end, or through as many resets as its guest asks for.

    `attend(machine)` serves the running machine (input, signals) and returns when it has ended: 0, or the signal that
    made it stop the machine, or -1 if the user left.
    """
    from popek.api.machine import Machine

    spec.checked()
    while True:
        with Machine(spec, serial_out=output) as machine:
            if dtb_out:
                with open(dtb_out, "wb") as file:
                    file.write(machine.device_tree)
                dtb_out = ""
            machine.start()
            signal = attend(machine)
            outcome = machine.wait()
            statistics = machine.stats()
        if signal:
            return Ended("stopped", 128 + signal if signal > 0 else 0, statistics)
        if outcome.kind == "reset" and reboot:
            continue
        status = outcome.code & 0xFF or bool(outcome.code) if outcome.kind == "fail" else 0
        return Ended(outcome.kind, int(status), statistics)
