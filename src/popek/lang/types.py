"""Types of the subset: fixed-width integers, arrays, pointers, structs. No functions and no code generation here.

A type checker sees the integer types as `int`; at run time they are objects that also convert: `u8(300) == 44`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from popek.base.records import Record, lay_out

T = TypeVar("T")
C = TypeVar("C", bound=type)


class IntType:
    """A fixed-width integer type."""

    __slots__ = ("align", "bits", "ctype", "mask", "name", "sign", "signed", "size")

    def __init__(self, name: str, bits: int, signed: bool, ctype: Any) -> None:
        self.name, self.bits, self.signed, self.ctype = name, bits, signed, ctype
        self.size = self.align = bits // 8
        self.mask = (1 << bits) - 1
        self.sign = 1 << (bits - 1) if signed else 0

    def __call__(self, value: int = 0) -> int:
        return ((int(value) & self.mask) ^ self.sign) - self.sign

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name

    def fits(self, value: int) -> bool:
        """May a literal of this value be used as this type (as signed or as unsigned)?"""
        return -(1 << (self.bits - 1)) <= value <= self.mask


class BoolType:
    """The type of conditions: `bool`, one byte in memory."""

    __slots__ = ()
    name, size, align, ctype = "bool", 1, 1, ctypes.c_bool

    def __repr__(self) -> str:
        return "bool"


BOOL = BoolType()

if TYPE_CHECKING:
    u8 = int
    u16 = int
    u32 = int
    u64 = int
    u128 = int
    i8 = int
    i16 = int
    i32 = int
    i64 = int
    i128 = int
else:
    u8 = IntType("u8", 8, False, ctypes.c_uint8)
    u16 = IntType("u16", 16, False, ctypes.c_uint16)
    u32 = IntType("u32", 32, False, ctypes.c_uint32)
    u64 = IntType("u64", 64, False, ctypes.c_uint64)
    u128 = IntType("u128", 128, False, None)
    i8 = IntType("i8", 8, True, ctypes.c_int8)
    i16 = IntType("i16", 16, True, ctypes.c_int16)
    i32 = IntType("i32", 32, True, ctypes.c_int32)
    i64 = IntType("i64", 64, True, ctypes.c_int64)
    i128 = IntType("i128", 128, True, None)


class ArrayType:
    """`length` items of one type, one after another, inside a struct."""

    __slots__ = ("item", "length")

    def __init__(self, item: Any, length: int) -> None:
        self.item, self.length = item, length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayType) and self.item == other.item and self.length == other.length

    def __hash__(self) -> int:
        return hash((self.item, self.length))

    def __repr__(self) -> str:
        return f"Array[{name_of(self.item)}, {self.length}]"

    @property
    def size(self) -> int:
        return self.length * int(self.item.size)

    @property
    def align(self) -> int:
        return int(self.item.align)


class PointerType:
    """Address of a struct. `target` may be given by name when the struct is defined later."""

    __slots__ = ("_scope", "_target")
    size = align = 8

    def __init__(self, target: Any, scope: str = "") -> None:
        self._target, self._scope = target, scope

    @property
    def target(self) -> Any:
        if isinstance(self._target, str):
            self._target = vars(sys.modules[self._scope])[self._target]
        return self._target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PointerType) and self.target is other.target

    def __hash__(self) -> int:
        return hash(id(self.target))

    def __repr__(self) -> str:
        return f"Ptr[{name_of(self._target)}]"


if TYPE_CHECKING:

    class Array(list[T], Generic[T]):
        """`Array[T, n]`; the checker plug-in (lang/checker.py) reads it as Array[T]."""

    class Ptr(Generic[T]):
        """`Ptr[S]`; the checker plug-in reads it as S."""

else:

    class Array:
        """`Array[T, n]`: n items of type T (struct fields only)."""

        def __class_getitem__(cls, arguments: tuple[Any, int]) -> ArrayType:
            item, length = arguments
            return ArrayType(as_type(item), int(length))

    class Ptr:
        """`Ptr[S]`: address of a struct S."""

        def __class_getitem__(cls, target: Any) -> PointerType:
            return PointerType(target)


def as_type(annotation: Any) -> Any:
    """The type meant by an annotation object."""
    if annotation is bool:
        return BOOL
    if isinstance(annotation, (IntType, ArrayType, PointerType, BoolType, StructMeta)):
        return annotation
    raise TypeError(f"{annotation!r} is not a type of the subset")


def name_of(type_: Any) -> str:
    """How a type is called in messages."""
    if type_ is None:
        return "literal"
    return getattr(type_, "__name__", None) or str(type_)


class StructMeta(type):
    """Class of struct classes: knows fields and layout, so that a struct may have fields named `size` or `offset`."""

    __fields__: dict[str, Any]
    __layout__: Record | None
    __ctype__: Any

    @property
    def fields(cls) -> dict[str, Any]:
        """Type of each field, by name."""
        return cls.__fields__

    @property
    def layout(cls) -> Record:
        """Where each field lies."""
        if cls.__layout__ is None:
            cls.__layout__ = lay_out((name, t.size, t.align) for name, t in cls.__fields__.items())
        return cls.__layout__

    @property
    def size(cls) -> int:
        """Size in bytes."""
        return cls.layout.size

    @property
    def align(cls) -> int:
        """Alignment in bytes."""
        return cls.layout.align

    # Properties, because a field of the same name would hide a method.

    @property
    def offset(cls) -> Callable[[str], int]:
        """offset(name): distance of a field from the start, in bytes; `a.b` reaches into a nested struct."""
        return partial(_offset, cls)

    @property
    def ctype(cls) -> Callable[[], type[ctypes.Structure]]:
        """ctype(): the ctypes.Structure of the same layout; Ptr fields are c_uint64."""
        return partial(_structure, cls)

    @property
    def at(cls) -> Callable[[int], Any]:
        """at(address): a live view (ctypes) of the struct at a host address."""
        return _structure(cls).from_address


def _offset(cls: StructMeta, name: str) -> int:
    first, _, rest = name.partition(".")
    here = cls.layout.slots[first].offset
    return here + _offset(cls.__fields__[first], rest) if rest else here


def _structure(cls: StructMeta) -> Any:
    if cls.__ctype__ is None:
        members = [(name, _ctype_of(t)) for name, t in cls.__fields__.items()]
        made = type(cls.__name__, (ctypes.Structure,), {"_fields_": members, "__slots__": ()})
        if ctypes.sizeof(made) != cls.size:
            raise TypeError(f"{cls.__name__}: layout differs from ctypes")
        cls.__ctype__ = made
    return cls.__ctype__


def _ctype_of(type_: Any) -> Any:
    if isinstance(type_, ArrayType):
        return _ctype_of(type_.item) * type_.length
    if isinstance(type_, StructMeta):
        return _structure(type_)
    if isinstance(type_, PointerType):
        return ctypes.c_uint64
    if type_.ctype is None:
        raise TypeError(f"{type_} cannot be a struct field")
    return type_.ctype


def _zero(type_: Any, scope: dict[str, Any]) -> str:
    """Source text of the zero value of a field."""
    if isinstance(type_, ArrayType):
        item = _zero(type_.item, scope)
        fresh = isinstance(type_.item, (ArrayType, StructMeta))
        return f"[{item} for _ in range({type_.length})]" if fresh else f"[{item}] * {type_.length}"
    if isinstance(type_, StructMeta):
        name = f"s{len(scope)}"
        scope[name] = type_
        return f"{name}()"
    if isinstance(type_, PointerType):
        return "None"
    return "False" if type_ is BOOL else "0"


def _annotations(cls: type) -> dict[str, Any]:
    """The annotations of a class, as strings where they cannot be evaluated yet."""
    if sys.version_info >= (3, 14):  # they are evaluated only now
        import annotationlib

        found = annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
        texts = annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
        return {k: texts[k] if isinstance(v, annotationlib.ForwardRef) else v for k, v in found.items()}
    return dict(cls.__dict__.get("__annotations__", {}))


class _Names(dict[str, Any]):
    """Names in annotations; one that is not defined yet stands for itself (allowed in `Ptr[...]` only)."""

    def __missing__(self, name: str) -> Any:
        return bool if name == "bool" else name


def struct(cls: C) -> C:
    """Make an annotated class a record of natural C layout (see StructMeta for what the class itself can do)."""
    module = cls.__module__
    fields: dict[str, Any] = {}
    for name, annotation in _annotations(cls).items():
        if isinstance(annotation, str):
            annotation = eval(annotation, {}, _Names(vars(sys.modules[module])))
        type_ = as_type(annotation)
        if isinstance(type_, PointerType) and not type_._scope:
            type_ = PointerType(type_._target, module)
        elif isinstance(type_, ArrayType) and isinstance(type_.item, PointerType):
            type_ = ArrayType(PointerType(type_.item._target, module), type_.length)
        if name in cls.__dict__:
            raise TypeError(f"{cls.__name__}.{name}: a struct field has no default")
        if type_ in (u128, i128):
            raise TypeError(f"{cls.__name__}.{name}: {type_} cannot be a struct field")
        fields[name] = type_
    body = {k: v for k, v in cls.__dict__.items() if k not in ("__dict__", "__weakref__")}
    body["__slots__"] = (*fields, "__weakref__")
    scope: dict[str, Any] = {}
    lines = [f"    self.{name} = {_zero(t, scope)}" for name, t in fields.items()] or ["    pass"]
    exec("def __init__(self):\n" + "\n".join(lines), scope)
    body["__init__"] = scope.pop("__init__")
    body.update(__fields__=fields, __layout__=None, __ctype__=None)
    return StructMeta(cls.__name__, (), body)  # type: ignore[return-value]


@struct
class Opaque:
    """What a pointer leads to when the code that holds it must not know: `Ptr[Opaque]`, see `cast`."""
