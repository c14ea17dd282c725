"""Package files: every compression, and what a hostile or damaged one does."""

from pathlib import Path

import pytest

from popek.images.deb import Deb
from popek.images.errors import BadPackage

from .made_up import ar, deb, tar

FILES = [("./usr", None), ("./usr/x", b"hello"), ("./usr/l", "../etc"), ("./usr/h", ("./usr/x",))]


@pytest.mark.parametrize("suffix", [".xz", ".gz", ".zst", ""])
def test_contents(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb("a", files=FILES, control={"postinst": b"#!/bin/sh\n"}, suffix=suffix))
    control = Deb(path).control()
    assert set(control) == {"control", "postinst"} and b"Package: a\n" in control["control"][0]
    seen = {member.name: content.read() if content else member.linkname for member, content in Deb(path).data()}
    assert seen == {"": "", "usr": "", "usr/x": b"hello", "usr/l": "../etc", "usr/h": "usr/x"}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "./usr/../../x"])
def test_paths_that_lead_outside(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb("a", files=[(name, b"x")]))
    with pytest.raises(BadPackage, match="leads outside"):
        list(Deb(path).data())


def test_a_hard_link_that_leads_outside(tmp_path: Path) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb("a", files=[("./x", ("../y",))]))
    with pytest.raises(BadPackage, match="leads outside"):
        list(Deb(path).data())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: b"",
        lambda d: b"hello",
        lambda d: d[: len(d) // 2],
        lambda d: d[:40],
        lambda d: d[:200] + bytes(400) + d[600:],
        lambda d: ar([("debian-binary", b"2.0\n")]),
        lambda d: ar([("data.tar.lz4", b"x")]),
        lambda d: ar([("data.tar.xz", tar([]))]),
    ],
)
def test_damaged(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(spoil(deb("a", files=[("./x", bytes(range(256)) * 40)])))  # type: ignore[operator]
    with pytest.raises(BadPackage):
        Deb(path).control()
        for _, content in Deb(path).data():
            content and content.read()
