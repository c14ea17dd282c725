"""`popek profile`: boot or run as always, and tell at the end in which functions the guest spent its time."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TextIO

from popek.api.errors import BadInput
from popek.api.profile import Profile, Stacks, table, tasks
from popek.api.profile_flame import flame
from popek.api.profile_names import given
from popek.faces.commands import boot, run
from popek.faces.commands.boot import number, say

TASKS = 8  # shown


def main(chosen: argparse.Namespace) -> int:
    """The guest's exit status. What is wrong with our own options is told before it starts."""
    top = number(chosen.top, "--top")
    if top < 0:
        raise BadInput(f"--top {top}: a table has no less than 0 lines")
    new = bool(chosen.out) and _can_be_written(chosen.out)
    profile = Profile([given(text) for text in chosen.symbols], say)
    running = chosen.command == "profile run"
    as_json, chosen.json = chosen.json, False
    try:
        return run.main(chosen, profile) if running else boot.main(chosen, profile)
    finally:
        if profile.started():
            made = profile.stacks()
            try:
                if chosen.out:
                    subject = ["run", chosen.image, *chosen.guest_command] if running else [chosen.kernel]
                    _write(chosen.out, flame(made, " ".join(["popek profile", *subject])))
            finally:
                # The standard output of `profile run` is the command's own
                _show(made, top, as_json, sys.stderr if running else sys.stdout)
        elif new:
            os.unlink(chosen.out)


def _can_be_written(path: str) -> bool:
    """Raises OSError if not; is it a file that was not there before?"""
    new = not os.path.exists(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
    return new


def _write(path: str, picture: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(picture)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _show(made: Stacks, top: int, as_json: bool, to: TextIO) -> None:
    everything = sum(made.values())
    rows, by_task = table(made)[:top], tasks(made)
    if as_json:
        import json

        found = {"samples": everything, "functions": [row._asdict() for row in rows], "tasks": by_task}
        print(json.dumps(found), file=to, flush=True)
        return
    print(f"{'self':>7} {'total':>7} {'samples':>8}  where    function ({everything} samples)", file=to)
    for row in rows:
        own, total = 100 * row.own / everything, 100 * row.total / everything
        file = f" [{row.file}]" if row.file else ""
        print(f"{own:6.2f}% {total:6.2f}% {row.own:8}  {row.where:8} {row.name}{file}", file=to)
    if by_task:
        shares = [f"{name} {100 * count / everything:.1f}%" for name, count in list(by_task.items())[:TASKS]]
        print(f"tasks: {', '.join(shares)}", file=to)
    to.flush()
