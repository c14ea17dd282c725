"""Flattened device trees, version 17, written and read (Devicetree Specification 0.4, chapter 5). No machine here."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from popek.base.errors import BadImage

MAGIC, VERSION, COMPATIBLE = 0xD00DFEED, 17, 16
BEGIN_NODE, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
MAX_DEPTH = 64

_HEADER = struct.Struct(">10I")
_WORD = struct.Struct(">I")
_PROPERTY = struct.Struct(">II")
_RESERVATION = struct.Struct(">QQ")


class Node:
    """A node: its name with unit address, its properties as raw values, its children, both in order."""

    __slots__ = ("children", "name", "properties")

    def __init__(
        self, name: str = "", properties: Mapping[str, bytes] | None = None, children: Iterable[Node] = ()
    ) -> None:
        self.name = name
        self.properties = dict(properties or {})
        self.children = list(children)

    def __getitem__(self, path: str) -> Node:
        """The node at a path below this one; KeyError if there is none."""
        node = self
        for name in path.strip("/").split("/"):
            if name:
                found = next((child for child in node.children if child.name == name), None)
                if found is None:
                    raise KeyError(path)
                node = found
        return node

    def walk(self) -> Iterator[Node]:
        """This node and everything below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def cells(*values: int) -> bytes:
    """32-bit cells."""
    return struct.pack(f">{len(values)}I", *values)


def wide(*values: int) -> bytes:
    """64-bit numbers, two cells each."""
    return struct.pack(f">{len(values)}Q", *values)


def text(*strings: str) -> bytes:
    """A string or a list of strings."""
    return b"".join(s.encode() + b"\0" for s in strings)


FLAG = b""  # a property that only has to be there


def blob(root: Node, reserved: Iterable[tuple[int, int]] = (), boot_cpu: int = 0) -> bytes:
    """The tree as bytes. `reserved` are (address, size) of memory that nobody may touch."""
    names: dict[str, int] = {}
    strings = bytearray()
    structure = bytearray()

    def put(node: Node) -> None:
        structure.extend(_padded(_WORD.pack(BEGIN_NODE) + text(node.name)))
        for name, value in node.properties.items():
            if name not in names:
                names[name] = len(strings)
                strings.extend(text(name))
            structure.extend(_padded(_WORD.pack(PROPERTY) + _PROPERTY.pack(len(value), names[name]) + value))
        for child in node.children:
            put(child)
        structure.extend(_WORD.pack(END_NODE))

    put(root)
    structure.extend(_WORD.pack(END))
    reservations = b"".join(_RESERVATION.pack(*pair) for pair in (*reserved, (0, 0)))
    at_reservations = _HEADER.size  # 40: a multiple of 8, as it must be
    at_structure = at_reservations + len(reservations)
    at_strings = at_structure + len(structure)
    header = _HEADER.pack(
        MAGIC, at_strings + len(strings), at_structure, at_strings, at_reservations, VERSION, COMPATIBLE, boot_cpu,
        len(strings), len(structure),
    )  # fmt: skip
    return header + reservations + structure + strings


def parse(data: bytes | memoryview, name: str = "the device tree") -> Node:
    """The tree in `data`. Raises BadImage for anything that is not one."""
    data = bytes(data)
    if len(data) < _HEADER.size:
        raise BadImage(f"{name}: too short to be a device tree")
    magic, total, at, strings_at, _, version, compatible, _, strings_size, size = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadImage(f"{name}: not a device tree")
    if version < COMPATIBLE or compatible > VERSION:
        raise BadImage(f"{name}: a device tree of version {version}", "only version 17 is known")
    if total > len(data) or at + size > total or strings_at + strings_size > total or at % 4:
        raise BadImage(f"{name}: the device tree is cut off")
    reader = _Reader(data[at : at + size], data[strings_at : strings_at + strings_size], name)
    return reader.tree()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


class _Reader:
    """Reads the structure block (5.4) once, front to back."""

    def __init__(self, structure: bytes, strings: bytes, name: str) -> None:
        self.structure, self.strings, self.name = structure, strings, name
        self.at = 0

    def tree(self) -> Node:
        if self.token() != BEGIN_NODE:
            raise self.bad("does not begin with a node")
        root = Node(self.string())
        path = [root]
        while path:
            token = self.token()
            if token == BEGIN_NODE:
                if len(path) >= MAX_DEPTH:
                    raise self.bad("is nested too deeply")
                node = Node(self.string())
                path[-1].children.append(node)
                path.append(node)
            elif token == END_NODE:
                path.pop()
            elif token == PROPERTY:
                size, at = _PROPERTY.unpack(self.take(_PROPERTY.size))
                end = self.strings.find(b"\0", at)
                if end < 0:
                    raise self.bad("names a property outside its strings")
                path[-1].properties[self.decoded(self.strings[at:end])] = self.take(size)
            else:
                raise self.bad(f"has a token {token}")
        if self.token() != END:
            raise self.bad("does not end where it should")
        return root

    def token(self) -> int:
        while True:
            self.at += -self.at % 4
            token: int = _WORD.unpack(self.take(4))[0]
            if token != NOP:
                return token

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.structure):
            raise self.bad("is cut off")
        self.at += n
        return self.structure[self.at - n : self.at]

    def string(self) -> str:
        end = self.structure.find(b"\0", self.at)
        if end < 0:
            raise self.bad("is cut off")
        return self.decoded(self.take(end + 1 - self.at)[:-1])

    def decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("ascii")
        except UnicodeDecodeError:
            raise self.bad("has a name that is not ASCII") from None

    def bad(self, what: str) -> BadImage:
        return BadImage(f"{self.name}: the tree {what}")
