"""Expressions of the typed tree -> LLVM IR text. Control flow between statements is body.py's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from popek.lang import tree
from popek.lang.functions import Function, SubsetError, Table
from popek.lang.ssa import Block, Writer
from popek.lang.types import BOOL, IntType

if TYPE_CHECKING:
    from popek.lang.reach import Reach

UNLIKELY = ", !prof !0"
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor", "//": "udiv", "%": "urem"}
RELATION = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_CHEAP = (tree.Const, tree.Null, tree.Local)


def llvm_type(type_: Any) -> str:
    """LLVM's name of a type of values."""
    if type_ is None:
        return "void"
    if type_ is BOOL:
        return "i1"
    return f"i{type_.bits}" if isinstance(type_, IntType) else "ptr"


def outside_type(type_: Any) -> str:
    """The same, where C code may be on the other side: narrow numbers are extended to 32 bits."""
    if type_ is BOOL or (isinstance(type_, IntType) and type_.bits < 32):
        return f"{llvm_type(type_)} {'signext' if getattr(type_, 'signed', False) else 'zeroext'}"
    return llvm_type(type_)


def cheap(node: Any) -> bool:
    """May this be computed although it is not needed: no memory access, call or division, and not much of it?"""
    if isinstance(node, _CHEAP):
        return True
    if isinstance(node, (tree.Binary, tree.Compare)):
        return node.op not in ("//", "%") and cheap(node.a) and cheap(node.b)
    if isinstance(node, (tree.Unary, tree.Convert)):
        return cheap(node.a)
    return isinstance(node, tree.Logic) and cheap(node.a) and cheap(node.b)


class Values(Writer):
    """Writes the expressions of one function."""

    def __init__(
        self,
        program: Reach,
        definition: tree.Definition,
        declares: dict[str, None],
        tables: dict[int, tuple[str, Table]],
    ) -> None:
        super().__init__()
        self.program, self.definition = program, definition
        self.declares, self.tables = declares, tables
        self.named: dict[Function, None] = {}  # functions that the text refers to
        self.used_tables: dict[int, None] = {}
        self.prefix = ""  # of the locals' names, while inside an inlined function
        self.returns: list[tuple[str, Block]] = []  # where inlined functions return to
        self.raising = program.raising(definition.function)
        self.result = program.result(definition.function)
        self.plain = llvm_type(definition.result)
        self.types = dict(definition.locals)
        self.loops: list[tuple[Block, Block]] = []
        self.propagate, self.outcome = Block(self, "raised.0"), Block(self, "outcome.0")
        self.types |= {"outcome.value": definition.result, "outcome.raised": BOOL}
        self.handlers = [self.propagate]

    def type_of(self, name: str) -> str:
        return llvm_type(self.types[name])

    def hidden(self, prefix: str, type_: Any) -> str:
        """A local variable of our own."""
        name = self.fresh(prefix)
        self.types[name] = type_
        return name

    def value(self, node: Any) -> str:
        """The value of an expression."""
        return getattr(self, "get_" + type(node).__name__)(node)

    # -- memory --

    def offset(self, base: str, offset: int) -> str:
        return base if offset == 0 else self.emit(f"getelementptr inbounds i8, ptr {base}, i64 {offset}")

    def place(self, node: Any) -> str:
        """The address of a variable in memory, as ptr."""
        if isinstance(node, tree.Field):
            return self.offset(self.value(node.base), node.offset)
        if isinstance(node, tree.Index):
            base = self.value(node.base)
            if isinstance(node.index, tree.Const):
                return self.offset(base, node.index.value * node.size)
            index = self.widen(self.value(node.index), node.index.type)
            return self.emit(f"getelementptr inbounds [{node.size} x i8], ptr {base}, i64 {index}")
        return self.emit(f"inttoptr i64 {self.value(node.address)} to ptr")

    def widen(self, value: str, type_: IntType, bits: int = 64) -> str:
        """A number as one of `bits` bits."""
        if type_.bits == bits:
            return value
        op = "trunc" if type_.bits > bits else "sext" if type_.signed else "zext"
        return self.emit(f"{op} i{type_.bits} {value} to i{bits}")

    def alignment(self, node: Any) -> int:
        return 1 if isinstance(node, tree.Memory) else node.type.align if not getattr(node, "pointer", False) else 8

    def load(self, node: Any, place: str) -> str:
        if node.type is BOOL:
            return self.emit(f"trunc i8 {self.emit(f'load i8, ptr {place}')} to i1")
        return self.emit(f"load {llvm_type(node.type)}, ptr {place}, align {self.alignment(node)}")

    def store(self, node: Any, place: str, value: str) -> None:
        if node.type is BOOL:
            self.line(f"store i8 {self.emit(f'zext i1 {value} to i8')}, ptr {place}")
        else:
            self.line(f"store {llvm_type(node.type)} {value}, ptr {place}, align {self.alignment(node)}")

    def get_Field(self, node: Any) -> str:
        place = self.place(node)
        if isinstance(node.type, IntType) or node.type is BOOL or node.pointer:
            return self.load(node, place)
        return place  # a nested struct or array: its address

    def get_Index(self, node: tree.Index) -> str:
        return self.get_Field(node)

    def get_Memory(self, node: tree.Memory) -> str:
        return self.load(node, self.place(node))

    def get_TableItem(self, node: tree.TableItem) -> str:
        name, _ = self.tables.setdefault(id(node.table), (f"@table.{len(self.tables)}", node.table))
        self.used_tables[id(node.table)] = None
        index = self.widen(self.value(node.index), node.index.type)
        bits, count = node.type.bits, len(node.table.values)
        place = self.emit(f"getelementptr inbounds [{count} x i{bits}], ptr {name}, i64 0, i64 {index}")
        return self.emit(f"load i{bits}, ptr {place}")

    # -- plain values --

    def get_Const(self, node: tree.Const) -> str:
        return ("true" if node.value else "false") if node.type is BOOL else str(node.value)

    def get_Null(self, node: tree.Null) -> str:
        return "null"

    def get_Local(self, node: tree.Local) -> str:
        assert self.env is not None
        if self.prefix + node.name not in self.env:
            where = self.definition.function.symbol
            raise SubsetError(f"{where}: {node.name} is used before it is assigned, on every way there")
        return self.read(self.prefix + node.name)

    def get_Unary(self, node: tree.Unary) -> str:
        a = self.value(node.a)
        if node.op == "!":
            return self.emit(f"xor i1 {a}, true")
        return self.emit(f"sub i{node.type.bits} 0, {a}" if node.op == "-" else f"xor i{node.type.bits} {a}, -1")

    def get_Binary(self, node: tree.Binary) -> str:
        a = self.value(node.a)
        return self.arithmetic(node.type, node.op, a, self.value(node.b), node.b.type)

    def arithmetic(self, type_: Any, op: str, a: str, b: str, b_type: Any) -> str:
        """a op b; b of a shift may be of another type."""
        if op not in ("<<", ">>"):
            return self.emit(f"{ARITHMETIC[op]} {llvm_type(type_)} {a}, {b}")
        name = "shl" if op == "<<" else "ashr" if type_.signed else "lshr"
        if not b.isdigit():
            b = self.emit(f"and i{type_.bits} {self.widen(b, b_type, type_.bits)}, {type_.bits - 1}")
        return self.emit(f"{name} i{type_.bits} {a}, {b}")

    def get_Compare(self, node: tree.Compare) -> str:
        a, b = self.value(node.a), self.value(node.b)
        relation = RELATION[node.op]
        if relation not in ("eq", "ne"):
            relation = ("s" if node.a.type.signed else "u") + relation
        return self.emit(f"icmp {relation} {llvm_type(node.a.type)} {a}, {b}")

    def get_Logic(self, node: tree.Logic) -> str:
        if cheap(node.b):
            a, b = self.value(node.a), self.value(node.b)
            pick = f"i1 {b}, i1 false" if node.op == "and" else f"i1 true, i1 {b}"
            return self.emit(f"select i1 {a}, {pick}")
        return self.choose(BOOL, node, tree.Const(BOOL, 1), tree.Const(BOOL, 0))

    def get_Select(self, node: tree.Select) -> str:
        if cheap(node.a) and cheap(node.b):
            condition, type_ = self.value(node.condition), llvm_type(node.type)
            a, b = self.value(node.a), self.value(node.b)
            return self.emit(f"select i1 {condition}, {type_} {a}, {type_} {b}")
        return self.choose(node.type, node.condition, node.a, node.b)

    def choose(self, type_: Any, condition: Any, a: Any, b: Any) -> str:
        """a or b, computing only one of them."""
        name = self.hidden("choice", type_)
        then, otherwise, after = Block(self), Block(self), Block(self)
        self.branch(condition, then, otherwise, "")
        for block, node in ((then, a), (otherwise, b)):
            self.begin(block)
            value = self.value(node)
            assert self.env is not None
            self.env[name] = value
            self.jump(after)
        self.begin(after)
        return self.read(name)

    def branch(self, node: Any, then: Block, otherwise: Block, weights: str) -> None:
        """Go to `then` if the condition holds, else to `otherwise`."""
        if isinstance(node, tree.Const):
            self.jump(then if node.value else otherwise)
        elif isinstance(node, tree.Unary):
            swapped = {"": "", UNLIKELY: ", !prof !1"}.get(weights, UNLIKELY)
            self.branch(node.a, otherwise, then, swapped)
        elif isinstance(node, tree.Logic) and not cheap(node.b):
            second = Block(self)
            if node.op == "and":
                self.branch(node.a, second, otherwise, "" if weights == UNLIKELY else weights)
            else:
                self.branch(node.a, then, second, weights if weights == UNLIKELY else "")
            self.begin(second)
            self.branch(node.b, then, otherwise, weights)
        else:
            self.fork(self.value(node), then, otherwise, weights)

    def get_Convert(self, node: tree.Convert) -> str:
        a, have, bits = self.value(node.a), node.a.type, node.type.bits
        if have is BOOL:
            return self.emit(f"zext i1 {a} to i{bits}")
        return self.widen(a, have, bits)
