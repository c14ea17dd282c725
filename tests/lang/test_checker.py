"""A type checker understands subset code through the plug-in."""

from __future__ import annotations

from pathlib import Path

import pytest

CODE = """
from popek.lang import Array, Ptr, at_u32, cast, fn, port, struct, u8, u64

@struct
class Node:
    size: u64
    items: Array[u8, 4]
    nodes: "Array[Ptr[Node], 2]"
    next: "Ptr[Node]"

@port(raises=True)
def read(n: Node, address: u64) -> u64: ...

@fn(inline=True)
def walk(n: Node) -> u64:
    n.items[1] = u8(3)
    return n.next.size + n.nodes[0].items[2] + at_u32(n.size).value + read(n, 5) + cast(Node, n.next).size

reveal_type(Node.size)
reveal_type(Node.offset("items"))
reveal_type(Node().items)
reveal_type(Node().next)
reveal_type(walk)
walk(5)
Node().sise
"""
EXPECTED = [
    'Revealed type is "int"',
    'Revealed type is "int"',
    'Revealed type is "list[int]"',
    'Revealed type is "Node"',
    'Revealed type is "def (n: Node) -> int"',
    'Argument 1 to "walk" has incompatible type "int"',
    '"Node" has no attribute "sise"',
]


def test_the_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api")
    root = Path(__file__).resolve().parents[2]
    source, config = tmp_path / "sample.py", tmp_path / "mypy.ini"
    source.write_text(CODE)
    config.write_text(
        f"[mypy]\nplugins = {root / 'src/popek/lang/checker.py'}\nmypy_path = {root / 'src'}\n"
        "follow_imports = silent\nignore_missing_imports = True\ndisable_error_code = empty-body\n"
    )
    monkeypatch.chdir(tmp_path)
    out, err, _ = api.run(["--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), str(source)])
    said = [line.split(": ", 2)[-1].replace("builtins.", "").replace("sample.", "") for line in out.splitlines()]
    assert not err
    for wanted in EXPECTED:
        assert any(wanted in line for line in said), (wanted, out)
    assert len([line for line in out.splitlines() if ": error:" in line]) == 2, out
