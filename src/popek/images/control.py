"""Debian control data: stanzas (deb822), and how two versions compare. Text in, values out.

Debian Policy 5.1 (syntax of control files) and 5.6.12 (versions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def fields(stanza: str) -> dict[str, str]:
    """One stanza; a continuation line is joined with a newline, without its first blank."""
    result: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            if name:
                result[name] += "\n" + line[1:]
        elif ":" in line:
            name, _, value = line.partition(":")
            result[name] = value.strip()
    return result


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a text, separated by blank lines."""
    for part in re.split(r"\n[ \t]*(?:\n[ \t]*)+", text):
        if found := fields(part):
            yield found


def compare(left: str, right: str) -> int:
    """Negative, zero, positive: is `left` older than, the same as, newer than `right`? (Policy 5.6.12)"""
    for one, other in zip(_split(left), _split(right), strict=True):
        if order := _compare_part(one, other):
            return order
    return 0


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Is `version relation wanted` true? An empty relation always is (Policy 7.1)."""
    order = compare(version, wanted) if relation else 0
    return {"": True, "<<": order < 0, "<=": order <= 0, "=": order == 0, ">=": order >= 0, ">>": order > 0}[relation]


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-")
    return epoch, upstream or revision, revision if upstream else "0"


def _compare_part(left: str, right: str) -> int:
    """Runs of non-digits (`~` before the end, the end before letters, letters before the rest) and of digits."""
    while left or right:
        one, other = _run(r"\D*", left), _run(r"\D*", right)
        left, right = left[len(one) :], right[len(other) :]
        if (keys := [_order(one), _order(other)])[0] != keys[1]:
            return -1 if keys[0] < keys[1] else 1
        one, other = _run(r"\d*", left), _run(r"\d*", right)
        left, right = left[len(one) :], right[len(other) :]
        if int(one or 0) != int(other or 0):
            return -1 if int(one or 0) < int(other or 0) else 1
    return 0


def _run(pattern: str, text: str) -> str:
    found = re.match(pattern, text, re.A)
    return found[0] if found else ""


def _order(text: str) -> list[int]:
    return [-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in text] + [0]
