"""Makes docs/map.md: the captions of all modules, floor by floor. `--check` fails if the file is not what it would be.

python tools/map.py [--check]
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PACKAGE = HERE / "src" / "popek"
MAP = HERE / "docs" / "map.md"


def floors() -> list[list[str]]:
    """Rooms from the ground floor up, as the import rules in pyproject.toml have them."""
    settings = tomllib.loads((HERE / "pyproject.toml").read_text())
    layers = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")["layers"]
    return [[room.strip(" ()") for room in layer.split("|")] for layer in reversed(layers)]


def caption(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def make() -> tuple[str, list[str]]:
    """The map, and the modules that have no caption."""
    lines = ["# Map", "", "Made by `tools/map.py` from every module's caption, ground floor first. Do not edit.", ""]
    silent = []
    for number, rooms in enumerate(floors()):
        for room in rooms:
            folder = PACKAGE / room
            if not folder.is_dir():
                continue
            lines += [f"## Floor {number}: {room}", ""]
            head = folder / "__init__.py"
            if head.exists() and caption(head):
                lines += [caption(head), ""]
            lines += ["| module | lives there |", "|---|---|"]
            for path in sorted(folder.rglob("*.py")):
                name = path.relative_to(PACKAGE).with_suffix("").as_posix()
                says = caption(path)
                if not says and path.stat().st_size:
                    silent.append(str(path.relative_to(HERE)))
                if path == head or path.stat().st_size == 0:
                    continue
                lines.append("| `{}` | {} |".format(name.removesuffix("/__init__"), says.replace("|", "\\|")))
            lines.append("")
    return "\n".join(lines), silent


def main() -> int:
    text, silent = make()
    for path in silent:
        print(f"{path}: no caption (module docstring)", file=sys.stderr)
    if "--check" in sys.argv:
        if not MAP.exists() or MAP.read_text() != text:
            print("docs/map.md is out of date: run `python tools/map.py`", file=sys.stderr)
            return 1
        return bool(silent)
    MAP.write_text(text)
    return bool(silent)


if __name__ == "__main__":
    sys.exit(main())
