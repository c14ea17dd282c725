"""Doing something as a user who is not root, for tests of permissions. No assertions here."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOBODY = 65534
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def give_to_nobody(folder: Path) -> None:
    """Let nobody own a folder and all in it, and reach it. Does nothing unless this is root."""
    if os.geteuid():
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for above in folder.parents:
        if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)


def become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def as_nobody(folder: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """What function(*arguments) returns in a process of nobody's, who owns `folder`."""
    give_to_nobody(folder)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def there() -> None:
        become_nobody()
        theirs.send(function(*arguments))

    process = context.Process(target=there)
    process.start()
    process.join(60)
    if process.exitcode:
        raise ChildProcessError(f"exit status {process.exitcode}")
    return ours.recv()


def obey_permissions() -> None:
    """What this process executes next obeys the permissions of files even if it is root (as `preexec_fn`)."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")
