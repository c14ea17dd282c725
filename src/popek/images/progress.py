"""How a long job tells what it is doing: a callable that gets a text, how much is done and how much there is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """`total` 0: nobody knows how much there is. Called often, from any thread; draws or ignores, never raises."""

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None: ...


def silent(text: str, done: int = 0, total: int = 0) -> None:
    """For those who do not want to know."""
