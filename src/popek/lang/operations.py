"""Calls, intrinsics and atomics of the typed tree -> LLVM IR text. Plain values are values.py's."""

from __future__ import annotations

import os

from popek.lang import tree
from popek.lang.functions import Function
from popek.lang.ssa import Block
from popek.lang.types import IntType
from popek.lang.values import UNLIKELY, Values, llvm_type, outside_type

READ_MODIFY_WRITE = {"add": "add", "sub": "sub", "or": "or", "and": "and", "xor": "xor", "swap": "xchg"}


class Operations(Values):
    """Writes the calls and intrinsics of one function."""

    def get_Call(self, node: tree.Call) -> str:
        target = self.program.resolve(node.target, self.definition.function)
        values = [self.value(a) for a in node.arguments]
        if target in self.program.inlined:
            return self.inlined(target, values)
        self.named[target] = None
        type_name = llvm_type if target.kind == "fn" else outside_type
        parts = [f"{type_name(a.type)} {v}" for a, v in zip(node.arguments, values, strict=True)]
        result = self.program.result(target)
        text = f'call {result} @"{self.program.symbol(target)}"({", ".join(parts)})'
        if not self.program.raising(target):
            if result == "void":
                self.line(text)
                return ""
            return self.emit(text)
        full = self.emit(text)
        value = "" if result == "i1" else self.emit(f"extractvalue {result} {full}, 0")
        flag = full if result == "i1" else self.emit(f"extractvalue {result} {full}, 1")
        after = Block(self)
        self.fork(flag, self.handlers[-1], after, UNLIKELY)
        self.begin(after)
        return value

    def inlined(self, target: Function, arguments: list[str]) -> str:
        """The body of another function, here."""
        raise NotImplementedError

    def intrinsic(self, name: str, result: str, parameters: str, arguments: str) -> str:
        self.declares[f"declare {result} @{name}({parameters})"] = None
        text = f"call {result} @{name}({arguments})"
        if result == "void":
            self.line(text)
            return ""
        return self.emit(text)

    def get_Operation(self, node: tree.Operation) -> str:
        return getattr(self, "op_" + node.name)(node)

    def _count_zeros(self, node: tree.Operation) -> str:
        t = f"i{node.type.bits}"
        return self.intrinsic(f"llvm.{node.name}".replace("clz", "ctlz").replace("ctz", "cttz") + f".{t}",
                              t, f"{t}, i1", f"{t} {self.value(node.arguments[0])}, i1 false")  # fmt: skip

    op_clz = op_ctz = _count_zeros

    def _unary(self, node: tree.Operation) -> str:
        t = f"i{node.type.bits}"
        name = {"popcount": "ctpop", "bswap": "bswap"}[node.name]
        return self.intrinsic(f"llvm.{name}.{t}", t, t, f"{t} {self.value(node.arguments[0])}")

    op_popcount = op_bswap = _unary

    def _rotate(self, node: tree.Operation) -> str:
        t, (a, b) = node.type, node.arguments
        x = self.value(a)
        y = self.widen(self.value(b), b.type, t.bits)
        name = "llvm.fshl" if node.name == "rotl" else "llvm.fshr"
        i = f"i{t.bits}"
        return self.intrinsic(f"{name}.{i}", i, f"{i}, {i}, {i}", f"{i} {x}, {i} {x}, {i} {y}")

    op_rotl = op_rotr = _rotate

    def _divide(self, node: tree.Operation) -> str:
        a, b = (self.value(x) for x in node.arguments)
        return self.emit(f"{node.name} i{node.type.bits} {a}, {b}")

    op_sdiv = op_srem = _divide

    def _extreme(self, node: tree.Operation) -> str:
        a, b = (self.value(x) for x in node.arguments)
        i = f"i{node.type.bits}"
        name = f"llvm.{'s' if node.type.signed else 'u'}{node.name}.{i}"
        return self.intrinsic(name, i, f"{i}, {i}", f"{i} {a}, {i} {b}")

    op_min = op_max = _extreme

    def _hint(self, node: tree.Operation) -> str:
        return self.value(node.arguments[0])

    op_likely = op_unlikely = _hint

    def op_fence(self, node: tree.Operation) -> str:
        self.line("fence seq_cst")
        return ""

    def op_spin_hint(self, node: tree.Operation) -> str:
        if not self.program.native:
            return ""
        if os.uname().machine == "x86_64":
            return self.intrinsic("llvm.x86.sse2.pause", "void", "", "")
        if os.uname().machine == "aarch64":
            return self.intrinsic("llvm.aarch64.hint", "void", "i32", "i32 1")  # yield
        return ""

    def op_memcpy(self, node: tree.Operation) -> str:
        to, source, count = (self.value(a) for a in node.arguments)
        to, source = (self.emit(f"inttoptr i64 {a} to ptr") for a in (to, source))
        return self.intrinsic("llvm.memmove.p0.p0.i64", "void", "ptr, ptr, i64, i1",
                              f"ptr {to}, ptr {source}, i64 {count}, i1 false")  # fmt: skip

    def op_memset(self, node: tree.Operation) -> str:
        to, value, count = (self.value(a) for a in node.arguments)
        place = self.emit(f"inttoptr i64 {to} to ptr")
        return self.intrinsic("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1",
                              f"ptr {place}, i8 {value}, i64 {count}, i1 false")  # fmt: skip

    def get_Atomic(self, node: tree.Atomic) -> str:
        place = self.place(node.variable)
        t, align = llvm_type(node.variable.type), node.variable.type.align
        arguments = [f"{t} {self.value(a)}" for a in node.arguments]
        if node.op == "load":
            return self.emit(f"load atomic {t}, ptr {place} seq_cst, align {align}")
        if node.op in ("store", "release"):
            order = "seq_cst" if node.op == "store" else "release"
            self.line(f"store atomic {arguments[0]}, ptr {place} {order}, align {align}")
            return ""
        if node.op == "cas":
            pair = self.emit(f"cmpxchg ptr {place}, {arguments[0]}, {arguments[1]} seq_cst seq_cst")
            return self.emit(f"extractvalue {{ {t}, i1 }} {pair}, 1")
        return self.emit(f"atomicrmw {READ_MODIFY_WRITE[node.op]} ptr {place}, {arguments[0]} seq_cst")

    def get_Invoke(self, node: tree.Invoke) -> str:
        place = self.emit(f"inttoptr i64 {self.value(node.address)} to ptr")
        parts = ", ".join(f"{outside_type(a.type)} {self.value(a)}" for a in node.arguments)
        text = f"call {llvm_type(node.type)} {place}({parts})"
        if node.type is None:
            self.line(text)
            return ""
        return self.emit(text)

    def get_AddressOf(self, node: tree.AddressOf) -> str:
        variable = node.variable
        if isinstance(variable, (tree.Field, tree.Index, tree.Memory)):
            place = self.value(variable) if getattr(variable, "pointer", False) else self.place(variable)
        elif hasattr(variable, "kind"):
            target = self.program.resolve(variable, self.definition.function)
            self.named[target] = None
            place = f'@"{self.program.symbol(target)}"'
        else:
            place = self.value(variable)
        return self.emit(f"ptrtoint ptr {place} to i64")

    def get_Cast(self, node: tree.Cast) -> str:
        a = self.value(node.a)
        return a if not isinstance(node.a.type, IntType) else self.emit(f"inttoptr i64 {a} to ptr")
