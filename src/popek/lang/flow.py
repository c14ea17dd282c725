"""Where control goes in a typed tree: does a block end, does it leave a loop? Questions of front.py only."""

from __future__ import annotations

from typing import Any

from popek.lang import tree


def ends(body: list[Any]) -> bool:
    """Does control never leave this block at its end?"""
    for statement in body:
        match statement:
            case tree.Return() | tree.Raise() | tree.Break() | tree.Continue():
                return True
            case tree.If() if statement.otherwise and ends(statement.then) and ends(statement.otherwise):
                return True
            case tree.Try() if ends(statement.body) and ends(statement.handler):
                return True
            case tree.Match() if ends(statement.otherwise) and all(ends(body) for _, body in statement.cases):
                return True
            case tree.While(condition=tree.Const()) if not _breaks(statement.body):
                return True
    return False


def _breaks(body: list[Any]) -> bool:
    """Does a `break` in this block leave the loop around it?"""
    for statement in body:
        match statement:
            case tree.Break():
                return True
            case tree.If() if _breaks(statement.then) or _breaks(statement.otherwise):
                return True
            case tree.Try() if _breaks(statement.body) or _breaks(statement.handler):
                return True
            case tree.Match() if _breaks(statement.otherwise) or any(_breaks(body) for _, body in statement.cases):
                return True
    return False
