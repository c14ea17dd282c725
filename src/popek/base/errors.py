"""The one family of errors a user may see: what is wrong, where, and what to do about it. No other exceptions here."""

from __future__ import annotations


class PopekError(Exception):
    """Something the user can understand. `hint` says what to do; `details` are lines below it. Both may be empty."""

    details = ""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def line(self) -> str:
        """The error on one line, for a terminal."""
        text = f"{self.what}; {self.hint}" if self.hint else self.what
        return " ".join(text.split())


class BadInput(PopekError):
    """A file, an option or a value that cannot be used."""


class BadImage(BadInput):
    """A kernel, firmware, initrd or program that cannot be loaded."""


class HostProblem(PopekError):
    """The host refuses or lacks something: space, a permission, a network, a tool."""
