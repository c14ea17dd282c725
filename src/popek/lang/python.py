"""Typed tree of one function -> source text of plain Python with exact fixed-width meaning. Running it is run.py's.

Sums and the like are masked only when somebody needs the exact value: `exact()` asks for it, `loose()` does not.
"""

from __future__ import annotations

from typing import Any

from popek.lang import tree
from popek.lang.types import BOOL, IntType


class Python:
    """Writes the plain-Python source of one function. `names` collects the objects the source refers to."""

    def __init__(self, definition: tree.Definition) -> None:
        self.definition = definition
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self._count = 0

    def text(self, name: str) -> str:
        """`def name(...)`."""
        parameters = ", ".join(self.local(p.name) for p in self.definition.parameters)
        self.lines.append(f"def {name}({parameters}):")
        self.block(self.definition.body, " ")
        return "\n".join(self.lines) + "\n"

    def local(self, name: str) -> str:
        return "w" + name[1:] if name[0] == "." else "v_" + name

    def refer(self, prefix: str, thing: Any) -> str:
        """A global name for an object."""
        name = f"{prefix}{id(thing)}"
        self.names[name] = thing
        return name

    # -- statements --

    def block(self, body: list[Any], pad: str) -> None:
        start = len(self.lines)
        for statement in body:
            getattr(self, "do_" + type(statement).__name__)(statement, pad)
        if len(self.lines) == start:
            self.lines.append(pad + "pass")

    def put(self, pad: str, text: str) -> None:
        self.lines.append(pad + text)

    def do_Assign(self, node: tree.Assign, pad: str) -> None:
        self.put(pad, f"{self.exact(node.target)} = {self.exact(node.value)}")

    def do_Update(self, node: tree.Update, pad: str) -> None:
        target = node.target
        if isinstance(target, tree.Index) and not isinstance(target.index, (tree.Const, tree.Local)):
            index = self.temporary(target.index, pad)
            target = tree.Index(target.type, target.base, index, target.size)
        elif isinstance(target, tree.Memory):
            target = tree.Memory(target.type, self.temporary(target.address, pad))
        value = tree.Binary(target.type, node.op, target, node.value)
        self.put(pad, f"{self.exact(target)} = {self.exact(value)}")

    def temporary(self, node: Any, pad: str) -> tree.Local:
        """Assign an expression to a local of our own."""
        self._count += 1
        name = f".{self._count}"
        self.put(pad, f"{self.local(name)} = {self.exact(node)}")
        return tree.Local(node.type, name)

    def do_Evaluate(self, node: tree.Evaluate, pad: str) -> None:
        self.put(pad, self.loose(node.value)[0])

    def do_If(self, node: tree.If, pad: str) -> None:
        word = "if"
        while True:
            self.put(pad, f"{word} {self.exact(node.condition)}:")
            self.block(node.then, pad + " ")
            rest = node.otherwise
            if len(rest) != 1 or not isinstance(rest[0], tree.If):
                break
            node, word = rest[0], "elif"
        if rest:
            self.put(pad, "else:")
            self.block(rest, pad + " ")

    def do_Match(self, node: tree.Match, pad: str) -> None:
        number = {v: i for i, (values, _) in enumerate(node.cases) for v in values}
        self._count += 1
        name = f"w{self._count}"
        self.put(pad, f"{name} = {self.refer('cases', number)}.get({self.exact(node.subject)}, {len(node.cases)})")
        self.select(name, [*(body for _, body in node.cases), node.otherwise], 0, pad)

    def select(self, name: str, bodies: list[Any], first: int, pad: str) -> None:
        """Find the case of that number by halving."""
        if len(bodies) == 1:
            self.block(bodies[0], pad)
            return
        half = len(bodies) // 2
        self.put(pad, f"if {name} < {first + half}:")
        self.select(name, bodies[:half], first, pad + " ")
        self.put(pad, "else:")
        self.select(name, bodies[half:], first + half, pad + " ")

    def do_While(self, node: tree.While, pad: str) -> None:
        self.put(pad, f"while {self.exact(node.condition)}:")
        self.block(node.body, pad + " ")

    def do_For(self, node: tree.For, pad: str) -> None:
        limits = f"{self.exact(node.start)}, {self.exact(node.stop)}"
        if node.step != 1:
            limits += f", {node.step}"
        self.put(pad, f"for {self.local(node.variable.name)} in range({limits}):")
        self.block(node.body, pad + " ")

    def do_Break(self, node: tree.Break, pad: str) -> None:
        self.put(pad, "break")

    def do_Continue(self, node: tree.Continue, pad: str) -> None:
        self.put(pad, "continue")

    def do_Return(self, node: tree.Return, pad: str) -> None:
        self.put(pad, "return" if node.value is None else f"return {self.exact(node.value)}")

    def do_Raise(self, node: tree.Raise, pad: str) -> None:
        if node.cause is None:
            self.put(pad, "raise")
            return
        hart = self.local(node.hart.name)
        self.put(pad, f"c_, t_ = {self.exact(node.cause)}, {self.exact(node.tval)}")
        self.put(pad, f"{hart}.trap_cause = c_")
        self.put(pad, f"{hart}.trap_tval = t_")
        self.put(pad, "raise Trap(c_, t_)")

    def do_Try(self, node: tree.Try, pad: str) -> None:
        self.put(pad, "try:")
        self.block(node.body, pad + " ")
        self.put(pad, "except Trap:")
        self.block(node.handler, pad + " ")

    # -- expressions --

    def exact(self, node: Any) -> str:
        """Text whose value is the expression's value."""
        text, good = self.loose(node)
        return text if good else self.wrap(text, node.type)

    def wrap(self, text: str, type_: IntType) -> str:
        """Text of a number known modulo the width only, made exact."""
        if type_.signed:
            return f"((({text} & {type_.mask}) ^ {type_.sign}) - {type_.sign})"
        return f"({text} & {type_.mask})"

    def loose(self, node: Any) -> tuple[str, bool]:
        """Text equal to the value modulo the width, and whether it is exactly the value."""
        return getattr(self, "get_" + type(node).__name__)(node)

    def get_Const(self, node: tree.Const) -> tuple[str, bool]:
        if node.type is BOOL:
            return str(bool(node.value)), True
        return (str(node.value) if node.value >= 0 else f"({node.value})"), True

    def get_Null(self, node: tree.Null) -> tuple[str, bool]:
        return "None", True

    def get_Local(self, node: tree.Local) -> tuple[str, bool]:
        return self.local(node.name), True

    def get_Field(self, node: tree.Field) -> tuple[str, bool]:
        return f"{self.exact(node.base)}.{node.name}", True

    def get_Index(self, node: tree.Index) -> tuple[str, bool]:
        return f"{self.exact(node.base)}[{self.exact(node.index)}]", True

    def get_Memory(self, node: tree.Memory) -> tuple[str, bool]:
        return f"{node.type.ctype.__name__}.from_address({self.exact(node.address)}).value", True

    def get_TableItem(self, node: tree.TableItem) -> tuple[str, bool]:
        return f"{self.refer('table', node.table.values)}[{self.exact(node.index)}]", True

    def get_Unary(self, node: tree.Unary) -> tuple[str, bool]:
        if node.op == "!":
            return f"(not {self.exact(node.a)})", True
        a, exact = self.loose(node.a)
        if node.op == "-":
            return f"(-{a})", False
        if exact and not node.type.signed:
            return f"({a} ^ {node.type.mask})", True
        return f"(~{a})", exact and node.type.signed

    def get_Binary(self, node: tree.Binary) -> tuple[str, bool]:
        op, type_ = node.op, node.type
        if op in ("//", "%"):
            return f"({self.exact(node.a)} {op} {self.exact(node.b)})", True
        if op in ("<<", ">>"):
            amount = self.amount(node.b, type_.bits)
            if op == ">>":
                return f"({self.exact(node.a)} >> {amount})", True
            return f"({self.loose(node.a)[0]} << {amount})", False
        (a, a_exact), (b, b_exact) = self.loose(node.a), self.loose(node.b)
        if op in "+-*":
            return f"({a} {op} {b})", False
        good = a_exact and b_exact
        if op == "&" and type_ is not BOOL and not type_.signed:
            good = a_exact or b_exact
        return f"({a} {op} {b})", good

    def amount(self, node: Any, bits: int) -> str:
        """A shift amount modulo the width."""
        return str(node.value) if isinstance(node, tree.Const) else f"({self.loose(node)[0]} & {bits - 1})"

    def get_Compare(self, node: tree.Compare) -> tuple[str, bool]:
        op = node.op
        if not isinstance(node.a.type, IntType) and node.a.type is not BOOL:
            op = "is" if op == "==" else "is not"
        return f"({self.exact(node.a)} {op} {self.exact(node.b)})", True

    def get_Logic(self, node: tree.Logic) -> tuple[str, bool]:
        return f"({self.exact(node.a)} {node.op} {self.exact(node.b)})", True

    def get_Select(self, node: tree.Select) -> tuple[str, bool]:
        return f"({self.exact(node.a)} if {self.exact(node.condition)} else {self.exact(node.b)})", True

    def get_Convert(self, node: tree.Convert) -> tuple[str, bool]:
        have, to = node.a.type, node.type
        if have is BOOL:
            return f"(1 if {self.exact(node.a)} else 0)", True
        if to.bits <= have.bits:
            text, good = self.loose(node.a)
            return text, good and to.bits == have.bits and to.signed == have.signed
        text = self.exact(node.a)  # widening: the value itself counts
        return text, to.signed or not have.signed

    def get_Call(self, node: tree.Call) -> tuple[str, bool]:
        arguments = ", ".join(self.exact(a) for a in node.arguments)
        return f"{self.refer('f', node.target)}({arguments})", True

    def get_Operation(self, node: tree.Operation) -> tuple[str, bool]:
        arguments = [self.exact(a) for a in node.arguments]
        bits = node.type.bits if isinstance(node.type, IntType) else 0
        match node.name, arguments:
            case "likely" | "unlikely", [a]:
                return a, True
            case "clz", [a]:
                a = a if not node.type.signed else f"({a} & {node.type.mask})"
                return f"({bits} - ({a}).bit_length())", True
            case "ctz", [a]:
                return f"count_trailing({a}, {bits})", True
            case "popcount", [a]:
                a = a if not node.type.signed else f"({a} & {node.type.mask})"
                return f"({a}).bit_count()", not node.type.signed
            case "bswap", [a]:
                return f"swap_bytes({a}, {bits // 8})", not node.type.signed
            case "rotl", [a, _]:
                n = self.amount(node.arguments[1], bits)
                return f"({a} << {n} | {a} >> ({bits} - {n}))", False
            case "rotr", [a, _]:
                n = self.amount(node.arguments[1], bits)
                return f"({a} >> {n} | {a} << ({bits} - {n}))", False
            case "sdiv", [a, b]:
                return f"divide({a}, {b})", True
            case "srem", [a, b]:
                return f"remainder({a}, {b})", True
            case ("min" | "max") as name, [a, b]:
                return f"{name}({a}, {b})", True
        return f"{node.name}({', '.join(arguments)})", True

    def get_Atomic(self, node: tree.Atomic) -> tuple[str, bool]:
        variable = node.variable
        if node.op == "load":
            return self.exact(variable), True
        if isinstance(variable, tree.Field):
            owner, key, kind = self.exact(variable.base), repr(variable.name), "field"
        elif isinstance(variable, tree.Index):
            owner, key, kind = self.exact(variable.base), self.exact(variable.index), "item"
        else:
            view = f"{variable.type.ctype.__name__}.from_address({self.exact(variable.address)})"
            owner, key, kind = view, "'value'", "field"
        arguments = ", ".join(self.exact(a) for a in node.arguments)
        wrap, op = "", "store" if node.op == "release" else node.op
        if op in ("add", "sub"):
            wrap = f", {variable.type.mask}, {variable.type.sign}"
        return f"{kind}_{op}({owner}, {key}, {arguments}{wrap})", True

    def get_Invoke(self, node: tree.Invoke) -> tuple[str, bool]:
        return f"native_only({'invoke'!r})", True

    def get_AddressOf(self, node: tree.AddressOf) -> tuple[str, bool]:
        variable = node.variable
        if isinstance(variable, tree.Memory):
            return self.exact(variable.address), True
        if hasattr(variable, "kind"):
            return f"native_only({'addr_of'!r})", True
        if isinstance(variable, tree.Field) and not variable.pointer:
            return f"(address_of({self.exact(variable.base)}) + {variable.offset})", True
        if isinstance(variable, tree.Index) and not variable.pointer:
            return f"(address_of({self.exact(variable.base)}) + {self.exact(variable.index)} * {variable.size})", True
        return f"address_of({self.exact(variable)})", True

    def get_Cast(self, node: tree.Cast) -> tuple[str, bool]:
        if isinstance(node.a.type, IntType):
            return f"{self.refer('struct', node.type)}.at({self.exact(node.a)})", True
        return self.exact(node.a), True


__all__ = ["Python"]
