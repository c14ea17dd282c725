"""Plug-in for mypy: how `Array[T, n]`, `Ptr[S]` and `@struct` look to a type checker. Imported by mypy only."""

from __future__ import annotations

from collections.abc import Callable

from mypy.plugin import AnalyzeTypeContext, ClassDefContext, Plugin
from mypy.types import AnyType, Instance, Type, TypeOfAny


def _array(context: AnalyzeTypeContext) -> Type:
    arguments = context.type.args
    if len(arguments) != 2:
        context.api.fail("Array[T, n] takes two arguments", context.context)
        return AnyType(TypeOfAny.from_error)
    return context.api.named_type("builtins.list", [context.api.analyze_type(arguments[0])])


def _pointer(context: AnalyzeTypeContext) -> Type:
    arguments = context.type.args
    if len(arguments) != 1:
        context.api.fail("Ptr[S] takes one argument", context.context)
        return AnyType(TypeOfAny.from_error)
    return context.api.analyze_type(arguments[0])


def _struct(context: ClassDefContext) -> bool:
    node = context.api.lookup_fully_qualified_or_none("popek.lang.types.StructMeta")
    if node is None or node.node is None:
        return False
    meta = Instance(node.node, [])  # type: ignore[arg-type]
    context.cls.info.declared_metaclass = context.cls.info.metaclass_type = meta
    return True


class SubsetPlugin(Plugin):
    """Reads the subset's types as their plain-Python counterparts."""

    def get_type_analyze_hook(self, fullname: str) -> Callable[[AnalyzeTypeContext], Type] | None:
        return {"popek.lang.types.Array": _array, "popek.lang.types.Ptr": _pointer}.get(fullname)

    def get_class_decorator_hook_2(self, fullname: str) -> Callable[[ClassDefContext], bool] | None:
        return _struct if fullname == "popek.lang.types.struct" else None


def plugin(version: str) -> type[Plugin]:
    """Entry point for mypy."""
    return SubsetPlugin
