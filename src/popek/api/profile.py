"""Where a guest spent its time: samples become call stacks, functions, a table. For `popek profile`.

Lives here: attribution. Not here: taking samples (sampler), what addresses are called (profile_names), the picture
(profile_flame).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from popek.api import profile_kernel
from popek.api.profile_names import Given, Name, Names
from popek.api.sampler import Seen
from popek.api.spec import Spec

if TYPE_CHECKING:
    from popek.api.machine import Machine
    from popek.api.session import Session

PERIOD = 0.001  # seconds between samples
MODES = {0: "user", 1: "kernel", 3: "machine"}


class Stack(NamedTuple):
    """One way to be somewhere. `task`: Linux's name of who is, if it is known; `names`: outermost first."""

    where: str
    task: str
    names: tuple[Name, ...]


Stacks = dict[Stack, int]


class Row(NamedTuple):
    """One function: samples in it, samples in it and what it called."""

    name: str
    file: str
    where: str
    own: int
    total: int


class Profile:
    """Made before a machine starts, told what was seen when it has ended, asked when it is gone."""

    def __init__(self, symbols: list[Given], tell: Callable[[str], None]) -> None:
        """`tell` hears why names are missing."""
        self._symbols, self._tell = symbols, tell
        self._kernel = profile_kernel.Kernel([], profile_kernel.named([]), 0)
        self._spec: Spec | None = None
        self._seen: list[Seen] = []

    def prepare(self, spec: Spec) -> None:
        """The machine that will run."""
        self._spec = spec
        self._kernel = profile_kernel.read(spec, self._tell)

    @contextmanager
    def watching(self, machine: Machine, session: Session | None = None) -> Iterator[None]:
        """Around one run of the machine, before its start and behind its end, whatever that is; of a session only what
        comes when the guest is ready for its command."""
        sampler = machine.watch(PERIOD, self._kernel.name_at)
        if session is None:
            sampler.begin()
        else:
            session.begins = sampler.begin
        try:
            yield
        finally:
            self._seen.append(machine.seen())

    def started(self) -> bool:
        """Did a machine run?"""
        return bool(self._seen)

    def stacks(self) -> Stacks:
        """All samples by call stack."""
        made: Stacks = {}
        if self._spec is None:
            return made
        names = Names(self._spec, self._kernel, self._symbols, self._seen, self._tell)
        for seen in self._seen:
            for sample, count in seen.samples.items():
                stack = Stack(
                    MODES.get(sample.mode, "other"),
                    "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in sample.task),
                    names.stack(sample, seen.pages),
                )
                made[stack] = made.get(stack, 0) + count
        return made


def table(made: Stacks) -> list[Row]:
    """Functions, by their own samples."""
    own: dict[tuple[Name, str], int] = {}
    total: dict[tuple[Name, str], int] = {}
    for stack, count in made.items():
        innermost = stack.names[-1], stack.where
        own[innermost] = own.get(innermost, 0) + count
        for name in set(stack.names):
            total[name, stack.where] = total.get((name, stack.where), 0) + count
    rows = [Row(*name, where, own.get((name, where), 0), count) for (name, where), count in total.items()]
    return sorted(rows, key=lambda row: (-row.own, -row.total, row.name, row.file))


def tasks(made: Stacks) -> dict[str, int]:
    """Samples by Linux's task, most first; empty if none is known."""
    counted: dict[str, int] = {}
    for stack, count in made.items():
        if stack.task:
            counted[stack.task] = counted.get(stack.task, 0) + count
    return dict(sorted(counted.items(), key=lambda one: -one[1]))
