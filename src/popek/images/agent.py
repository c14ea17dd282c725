"""The host's side of the guest's agent: ports and the lines spoken on `popek.control`. Text only: no ports here.

Ports: popek.tty (a console port, hvc0), popek.stdin, popek.stdout, popek.stderr (bytes), popek.control (lines, last).

To the guest: `env WORD...`, `dir WORD`, `run pipe WORD...`, `run tty WORD...` (no word: a login shell),
`signal NAME`, `time SECONDS`, `poweroff`. From the guest: `ready 1`, then after each run `exit N`.
A WORD is a shell word; everything unusual in it is written \\xNN, so a line stays a line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

PORTS = ("popek.tty", "popek.stdin", "popek.stdout", "popek.stderr", "popek.control")
TTY, STDIN, STDOUT, STDERR, CONTROL = PORTS
VERSION = 1

_PLAIN = re.compile(rb"[A-Za-z0-9_./:=@%+,-]+")


def word(text: str | bytes) -> str:
    """One shell word for busybox's ash, on one line, whatever is in it."""
    raw = os.fsencode(text)
    if b"\0" in raw:
        raise ValueError("a NUL byte cannot be part of a command line")
    if _PLAIN.fullmatch(raw):
        return raw.decode()
    return "$'" + "".join(chr(byte) if _PLAIN.fullmatch(bytes((byte,))) else f"\\x{byte:02x}" for byte in raw) + "'"


def run(argv: Sequence[str | bytes], tty: bool) -> str:
    """The request to run a command, or a login shell."""
    return " ".join(["run", "tty" if tty else "pipe", *map(word, argv)]) + "\n"


def environment(values: Mapping[str, str]) -> str:
    """Variables for the runs that follow; names that no shell takes are left out."""
    pairs = [word(f"{name}={value}") for name, value in values.items() if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]
    return f"env {' '.join(pairs)}\n" if pairs else ""


def directory(path: str) -> str:
    """Where the runs that follow start."""
    return f"dir {word(path)}\n"


def requests(argv: Sequence[str | bytes], tty: bool, env: Mapping[str, str], path: str | None = None) -> bytes:
    """All lines of a first run."""
    lines: Iterable[str] = (environment(env), directory(path) if path else "", run(argv, tty))
    return "".join(lines).encode("ascii")


def parse(line: bytes) -> tuple[str, str]:
    """A line from the guest -> (verb, rest)."""
    verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
    return verb, rest


def exit_status(rest: str) -> int:
    """N of `exit N`, as a process's exit status."""
    return int(rest) & 0xFF if rest.isdigit() else 125
