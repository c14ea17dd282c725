"""Dependencies (Debian Policy 7)."""

import pytest

from popek.images.errors import ImageError
from popek.images.resolve import Need, Universe, closure, needs


def universe(*packages: str) -> Universe:
    """Each: `name version; Field: value; ...`."""
    text = []
    for package in packages:
        head, *rest = (part.strip() for part in package.split(";"))
        name, version = head.split()
        text.append(
            "\n".join(
                [
                    f"Package: {name}",
                    f"Version: {version}",
                    "Architecture: riscv64",
                    f"Filename: {name}",
                    "Size: 1",
                    "SHA256: 0",
                    *rest,
                ]
            )
        )
    return Universe("\n\n".join(text))


def names(world: Universe, *wanted: str) -> list[str]:
    return [package.name for package in closure(world, wanted)]


def test_needs() -> None:
    assert list(needs("a (>= 1:2-3) | b, c:any,\n d (<<  4)")) == [
        [Need("a", ">=", "1:2-3"), Need("b", "", "")],
        [Need("c", "", "")],
        [Need("d", "<<", "4")],
    ]


def test_everything_once_even_in_circles() -> None:
    world = universe("a 1; Depends: b, c", "b 1; Pre-Depends: c", "c 1; Depends: a", "d 1")
    assert names(world, "a") == ["a", "b", "c"]


def test_alternatives() -> None:
    world = universe("a 1; Depends: none | b | c", "b 1", "c 1")
    assert names(world, "a") == ["a", "b"]
    assert names(world, "a", "c") == ["a", "c"]


def test_virtual_packages_and_versions() -> None:
    world = universe(
        "a 1; Depends: awk",
        "mawk 1; Provides: awk",
        "gawk 1; Provides: awk",
        "b 1; Depends: v (>= 2)",
        "p 1; Provides: v (= 2)",
        "q 1; Provides: v",
    )
    assert names(world, "a") == ["a", "gawk"]
    assert names(world, "a", "mawk") == ["a", "mawk"]
    assert names(world, "b") == ["b", "p"]


def test_the_newest_version() -> None:
    world = universe("a 1.9", "a 1.10", "a 1.2")
    package = world.get("a")
    assert package is not None and package.version == "1.10"


def test_what_cannot_be_had() -> None:
    world = universe("a 1; Depends: b (>= 2)", "b 1", "c 1; Depends: nowhere")
    with pytest.raises(ImageError, match=r"a needs b \(>= 2\), which the archive does not have"):
        closure(world, ["a"])
    with pytest.raises(ImageError, match="c needs nowhere"):
        closure(world, ["c"])
    with pytest.raises(ImageError, match="the archive has no package zzz"):
        closure(world, ["zzz"])


def test_base() -> None:
    world = universe("a 1; Essential: yes", "b 1; Priority: required", "c 1; Priority: optional")
    assert world.base() == ["a", "b"]
