"""`popek run`: a command in a guest; our stdin, stdout, stderr, terminal and exit status become the command's."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from popek.api import actions
from popek.api.errors import BadInput
from popek.api.spec import MAX_HARTS, parse_size
from popek.faces import terminal
from popek.faces.commands.boot import number, say
from popek.faces.commands.statistics import Report
from popek.faces.progress import Progress
from popek.faces.pump import Signals, pump

if TYPE_CHECKING:
    from popek.api.profile import Profile
    from popek.api.session import Session

STDIN, STDOUT, STDERR = 0, 1, 2


def main(chosen: argparse.Namespace, profile: Profile | None = None) -> int:
    """The guest command's exit status."""
    memory, harts = parse_size(chosen.memory), number(chosen.cpus, "--cpus")
    if not 1 <= harts <= MAX_HARTS:
        raise BadInput(f"--cpus {harts}: a guest has 1 to {MAX_HARTS}")
    env = variables(chosen.env)
    report = Report(chosen)
    with Progress(not (chosen.quiet or chosen.no_progress)) as progress:
        made = actions.image(chosen.image, progress)
    ours = terminal.ours(STDIN)
    tty = ours and os.isatty(STDOUT) if chosen.tty is None else chosen.tty
    raw = tty and ours
    if tty:
        env = {"TERM": os.environ.get("TERM", "dumb")} | env
    source = -1 if os.isatty(STDIN) and not ours else STDIN
    keys = terminal.TripleKey() if raw else terminal.PlainInput()
    mode = terminal.RawMode(STDIN, output=True) if raw else contextlib.nullcontext()
    with Signals((signal.SIGWINCH,)) as signals, mode:

        def attend(session: Session) -> int:
            def on_signal(number: int) -> bool:
                if number != signal.SIGWINCH:
                    return False
                session.resize(terminal.size(STDOUT))
                return True

            return pump(session, source, keys, signals, on_signal=on_signal)

        status = actions.run(
            made,
            chosen.guest_command,
            attend,
            tty=tty,
            size=terminal.size(STDOUT),
            env=env,
            workdir=chosen.workdir,
            memory=memory,
            harts=harts,
            name=host_name(chosen.name),
            engine=chosen.engine,
            vector=chosen.vector,
            stdout=STDOUT,
            stderr=STDERR,
            progress=None if chosen.quiet or not os.isatty(STDERR) else say,
            warn=None if chosen.quiet else say,
            profile=profile,
            measured=report.take if report.wanted else None,
        )
    report.show()
    return status


def variables(texts: list[str]) -> dict[str, str]:
    """`N=V`, or `N` alone for the value it has here; a name that is not set here is left out, as docker does."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name.isidentifier() or not name.isascii():
            raise BadInput(f"-e {text}: {name!r} is no name of a variable")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def host_name(text: str) -> str:
    if text and not (text.isascii() and text.replace("-", "a").isalnum() and len(text) < 64 and text[0] != "-"):
        raise BadInput(f"--name {text}: a name has letters, digits and -, at most 63")
    return text
