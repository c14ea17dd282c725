"""Makes docs/instructions.md from the definitions: instructions, 16-bit forms, registers. `--check` compares.

python tools/instructions.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from popek.isa import audit, csr, table, vector
from popek.isa.op import declared, expansions
from popek.isa.vector import table as vectors

PAGE = Path(__file__).resolve().parent.parent / "docs" / "instructions.md"
LEVELS = ("U", "S", "", "M")
HEAD = """# Instructions and registers

Made by `tools/instructions.py` from `src/popek/isa`. Do not edit.

The last two columns are Popek and Goldberg's: **sensitive** instructions change the machine's configuration (control)
or show it to a program (behaviour); **privileged** ones trap in user mode. "if told" means that a configuration of the
monitor's makes them trap. What is sensitive and never traps would keep this instruction set from being virtualized;
`isa/audit` finds none.
"""


def judged(row: audit.Row) -> str:
    """The audit's two columns."""
    kinds = [name for name, true in (("control", row.control), ("behaviour", row.behaviour)) if true]
    if row.always_traps:
        privileged = "always traps"
    else:
        privileged = "yes" if row.privileged else "if told" if row.sensitive and row.can_trap else ""
    return f"{', '.join(kinds)} | {privileged}"


def make() -> str:
    """The page."""
    rows = {row.name: row for row in audit.audit()}
    lines = [HEAD]
    for extension in (*table.EXTENSIONS, vector):
        title = (extension.__doc__ or "").split("\n")[0].rstrip(".")
        lines += [f"## {title}", ""]
        if operations := vectors.OPS if extension is vector else declared(extension):
            lines += ["| assembly | encoding | kind | sensitive | privileged |", "|---|---|---|---|---|"]
            for op in operations:
                verdict = judged(rows[op.name]) if op.name in rows else "see registers |"
                lines.append(f"| `{op.assembly}` | `{_cell(op.encoding.text)}` | {op.kind} | {verdict} |")
            lines.append("")
        if forms := expansions(extension):
            lines += ["| assembly | encoding | stands for |", "|---|---|---|"]
            for form in forms:
                lines.append(f"| `{form.assembly}` | `{_cell(form.encoding.text)}` | `{form.of.mnemonic}` |")
            lines.append("")
    lines += ["## Registers", ""]
    lines += ["| number | name | from mode | reading | privileged | writing | privileged |", "|" + "---|" * 7]
    for register in csr.CSRS:
        names = list(register.names)
        name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1].removeprefix(register.name)}"
        writing = "read-only |" if register.read_only else judged(rows[f"csrw {names[0]}"])
        reading = judged(rows[f"csrr {names[0]}"])
        lines.append(f"| `{register.number:#05x}` | {name} | {LEVELS[register.privilege]} | {reading} | {writing} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    text = make()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print("docs/instructions.md is out of date: run `python tools/instructions.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
