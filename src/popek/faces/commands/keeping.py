"""`popek image`, `popek prune`, `popek doctor`: what is kept on this host, and what it can do."""

from __future__ import annotations

import argparse
import sys

from popek.api import actions
from popek.faces.progress import megabytes


def main(chosen: argparse.Namespace) -> int:
    match chosen.command:
        case "doctor":
            return _doctor(chosen)
        case "prune":
            print(f"freed {megabytes(actions.prune(chosen.all))}")
            return 0
        case _ if chosen.what == "rm":
            return _remove(chosen.names)
        case _:
            return _list(chosen.json)


def _list(as_json: bool) -> int:
    rows = actions.image_list()
    if as_json:
        import json

        print(json.dumps([row._asdict() for row in rows]))
        return 0
    print(f"{'NAME':16} {'SIZE':>12} VERSION")
    for row in rows:
        print(
            f"{row.name:16} {megabytes(row.size) if row.built else '-':>12} {row.version if row.built else 'not built'}"
        )
    return 0


def _remove(names: list[str]) -> int:
    missing = [name for name in names if not actions.image_remove(name)]
    for name in missing:
        print(f"popek: image {name}: there is none", file=sys.stderr)
    return 1 if missing else 0


def _doctor(chosen: argparse.Namespace) -> int:
    checks = []
    for check in actions.doctor(chosen.offline):
        checks.append(check)
        if not chosen.json:
            print(f"{check.mark():7} {check.name:12} {check.says}", flush=True)
            if check.hint and not check.good:
                print(f"{'':20} -> {check.hint}", flush=True)
    if chosen.json:
        import json

        print(json.dumps([check._asdict() for check in checks]))
    runs = any(check.name.startswith("guest") and check.good for check in checks)
    if not chosen.json:
        print("guests can run on this host" if runs else "no guest can run on this host")
    return 0 if runs else 1
