"""The typed tree: what front.py makes of a subset function, and llvm.py and run.py read. Data only.

Every expression has a `type`: an IntType, BOOL, a struct class (then it is a reference), an ArrayType (a reference to
the array), or None for a literal that has not met a typed operand yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Const:
    """A number known now."""

    type: Any
    value: int


@dataclass(slots=True)
class Null:
    """The null pointer."""

    type: Any


@dataclass(slots=True)
class Local:
    """A local variable or parameter."""

    type: Any
    name: str


@dataclass(slots=True)
class Field:
    """A struct's field. `pointer` if the field holds the address of the struct that is its type."""

    type: Any
    base: Any
    name: str
    offset: int
    pointer: bool = False


@dataclass(slots=True)
class Index:
    """An array's item."""

    type: Any
    base: Any
    index: Any
    size: int
    pointer: bool = False


@dataclass(slots=True)
class Memory:
    """A number in raw memory."""

    type: Any
    address: Any


@dataclass(slots=True)
class TableItem:
    """An item of a constant table."""

    type: Any
    table: Any
    index: Any


@dataclass(slots=True)
class Unary:
    """`-a`, `~a` on numbers, `!a` on conditions."""

    type: Any
    op: str
    a: Any


@dataclass(slots=True)
class Binary:
    """Arithmetic. The amount of a shift may have a type of its own, or is a Const already below the width."""

    type: Any
    op: str
    a: Any
    b: Any


@dataclass(slots=True)
class Compare:
    """`==`, `!=`, `<`, `<=`, `>`, `>=` of equal types; for references the first two only."""

    type: Any
    op: str
    a: Any
    b: Any


@dataclass(slots=True)
class Logic:
    """Short-circuit `and`, `or`."""

    type: Any
    op: str
    a: Any
    b: Any


@dataclass(slots=True)
class Select:
    """`a if condition else b`."""

    type: Any
    condition: Any
    a: Any
    b: Any


@dataclass(slots=True)
class Convert:
    """A number (or condition) as another integer type."""

    type: Any
    a: Any


@dataclass(slots=True)
class Call:
    """A call of a subset function, port or extern."""

    type: Any
    target: Any
    arguments: list[Any]


@dataclass(slots=True)
class Operation:
    """An intrinsic on values."""

    type: Any
    name: str
    arguments: list[Any]


@dataclass(slots=True)
class Atomic:
    """An atomic operation on a variable."""

    type: Any
    op: str
    variable: Any
    arguments: list[Any]


@dataclass(slots=True)
class Invoke:
    """A call through an address."""

    type: Any
    address: Any
    arguments: list[Any]


@dataclass(slots=True)
class AddressOf:
    """The address of a variable, struct, array or function (then `variable` is the Function)."""

    type: Any
    variable: Any


@dataclass(slots=True)
class Cast:
    """A pointer or address as reference to another struct."""

    type: Any
    a: Any


@dataclass(slots=True)
class Assign:
    """target = value."""

    target: Any
    value: Any


@dataclass(slots=True)
class Update:
    """target op= value: the target's place is computed once."""

    target: Any
    op: str
    value: Any


@dataclass(slots=True)
class Evaluate:
    """An expression for its effect."""

    value: Any


@dataclass(slots=True)
class If:
    """`expected`: +1 if the condition is likely true, -1 if likely false."""

    condition: Any
    then: list[Any]
    otherwise: list[Any]
    expected: int = 0


@dataclass(slots=True)
class Match:
    """match subject: each case with the numbers that select it; `otherwise` for all other numbers."""

    subject: Any
    cases: list[tuple[list[int], list[Any]]]
    otherwise: list[Any]


@dataclass(slots=True)
class While:
    """`assigned`: names that the loop may assign."""

    condition: Any
    body: list[Any]
    assigned: set[str]


@dataclass(slots=True)
class For:
    """for variable in range(start, stop, step); step is a known number."""

    variable: Local
    start: Any
    stop: Any
    step: int
    body: list[Any]
    assigned: set[str]


@dataclass(slots=True)
class Break:
    """break"""


@dataclass(slots=True)
class Continue:
    """continue"""


@dataclass(slots=True)
class Return:
    """return value"""

    value: Any


@dataclass(slots=True)
class Raise:
    """raise Trap(cause, tval), noted in `hart`; cause None: raise again what was caught."""

    hart: Any
    cause: Any
    tval: Any


@dataclass(slots=True)
class Try:
    """try: body except Trap: handler."""

    body: list[Any]
    handler: list[Any]


@dataclass(slots=True)
class Definition:
    """A function, read and typed."""

    function: Any
    parameters: list[Local]
    result: Any
    body: list[Any]
    locals: dict[str, Any]
    calls: list[tuple[Any, bool]] = field(default_factory=list)  # (target, inside a try?)
    raises: bool = False  # by itself, outside a try
    tables: list[Any] = field(default_factory=list)
    addressed: list[Any] = field(default_factory=list)  # functions whose address is taken
    size: int = 0  # number of expressions in the source
