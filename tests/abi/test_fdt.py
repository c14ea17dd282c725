"""Flattened device trees: what is written is what is read, dtc reads it too, and bad bytes are an error."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popek.abi import fdt
from popek.abi.fdt import Node, blob, cells, parse, text, wide
from popek.base.errors import BadImage

TREE = Node(
    "",
    {"#address-cells": cells(2), "empty": b"", "odd": b"abc", "compatible": text("a,b", "c")},
    [
        Node("one@1", {"reg": wide(1 << 40, 2)}, [Node("inner", {"x": cells(7)})]),
        Node("two", {"#address-cells": cells(1)}),
    ],
)


def same(a: Node, b: Node) -> bool:
    return (
        a.name == b.name
        and a.properties == b.properties
        and len(a.children) == len(b.children)
        and all(map(same, a.children, b.children))
    )


def test_round_trip() -> None:
    data = blob(TREE, reserved=[(0x8000_0000, 0x1000)], boot_cpu=3)
    assert same(parse(data), TREE)
    assert parse(data)["one@1/inner"].properties["x"] == cells(7)
    assert [node.name for node in parse(data).walk()] == ["", "one@1", "inner", "two"]
    with pytest.raises(KeyError):
        parse(data)["nowhere"]


@pytest.mark.skipif(not shutil.which("dtc"), reason="needs dtc")
def test_dtc_reads_it(tmp_path) -> None:
    data = blob(TREE, reserved=[(0x8000_0000, 0x1000)])
    source = subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts"], input=data, capture_output=True, check=True).stdout
    assert b"/memreserve/\t0x0000000080000000 0x0000000000001000;" in source
    assert b'compatible = "a,b", "c"' in source or b'compatible = "a,b\\0c"' in source
    back = subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb"], input=source, capture_output=True, check=True).stdout
    assert same(parse(back), TREE)


names = st.text("abcdefghijklmnop,-@#0123456789", min_size=1, max_size=20)
trees = st.recursive(
    st.builds(Node, names, st.dictionaries(names, st.binary(max_size=20), max_size=4)),
    lambda inner: st.builds(
        Node, names, st.dictionaries(names, st.binary(max_size=9), max_size=3), st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)  # fmt: skip


@given(trees)
def test_any_tree(tree) -> None:
    assert same(parse(blob(tree)), tree)


@given(st.binary(max_size=200))
def test_any_bytes(data) -> None:
    with pytest.raises(BadImage):
        parse(data)


def test_mutated_trees() -> None:
    good = blob(TREE)
    rng = random.Random(3)
    for _ in range(5000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 3, 4, 9, 255, rng.randrange(256)))
        try:
            parse(data[: rng.choice((len(data), rng.randrange(len(data))))])
        except BadImage:
            pass


def test_nesting_is_limited() -> None:
    node = Node("leaf")
    for _ in range(fdt.MAX_DEPTH):
        node = Node("n", {}, [node])
    with pytest.raises(BadImage, match="too deeply"):
        parse(blob(node))
