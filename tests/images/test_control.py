"""Versions and stanzas (Debian Policy 5)."""

import pytest

from popek.images import control


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "1.1"),
        ("1.9", "1.10"),
        ("1.0~rc1", "1.0"),
        ("1.0~~", "1.0~"),
        ("1.0", "1.0+b1"),
        ("1.0-1", "1.0-1.1"),
        ("9", "1:0"),
        ("1.0", "1.0a"),
        ("1.0a", "1.0+"),
        ("2.41-1~deb13u1", "2.41-1"),
        ("0", "0.0.1"),
        ("1-1", "1-a"),
        ("6.12.94-1", "6.12.107-1"),
        ("1.2-3-4", "1.2-3-5"),
        ("1.0~", "1.0-0"),
    ],
)
def test_order(older: str, newer: str) -> None:
    assert control.compare(older, newer) < 0 < control.compare(newer, older)
    assert control.satisfies(newer, ">=", older) and control.satisfies(newer, ">>", older)
    assert control.satisfies(older, "<<", newer) and not control.satisfies(older, "=", newer)


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0-0"), ("0:1", "1"), ("1.00", "1.0"), ("a", "a")])
def test_same(one: str, other: str) -> None:
    assert control.compare(one, other) == 0


def test_stanzas() -> None:
    text = "# comment\nA: 1\nB:\n x y\n  z\n\n \nC: 2\n#D: 3\n"
    assert list(control.stanzas(text)) == [{"A": "1", "B": "\nx y\n z"}, {"C": "2"}]
