"""The template library: what a compiler may not do to a template."""

from __future__ import annotations

import pytest

from popek.engine.template import layout, library, templates
from popek.engine.template.compiler import compile_text


def compiled(body: str) -> bytes:
    outside = "declare void @elsewhere()\n@somewhere = external global i64\n"
    return compile_text(outside + templates.declarations() + templates.template("t", body) + templates.METADATA)


@pytest.mark.parametrize("body", [
    "  call void @elsewhere()\n" + templates.tail("@hole_next"),
    "  store i64 1, ptr @somewhere\n" + templates.tail("@hole_next"),
    "  call void @hole_value()\n" + templates.tail("@hole_next"),
    "  %a = load <2 x double>, ptr %h\n"
    "  %b = fadd <2 x double> %a, <double 0x3FD5555555555555, double 0x3FD5555555555556>\n"
    "  store <2 x double> %b, ptr %h\n" + templates.tail("@hole_next"),
])  # fmt: skip
def test_what_cannot_be_a_template_is_refused(body: str) -> None:
    with pytest.raises(library.TemplateError):
        library.cut(compiled(body))


def test_a_good_template_is_cut() -> None:
    codes = library.cut(
        compiled(
            f"  %a = getelementptr i8, ptr %h, i64 {templates.hole('rd')}\n  store i64 %p1, ptr %a\n"
            + templates.tail("@hole_next")
        )
    )
    assert [layout.HOLES[hole] for _, _, hole, _ in codes["t"].relocations] == ["rd"]  # the closing jump is gone


def test_what_would_overrun_its_run_is_refused() -> None:
    jump = (2, layout.PC32, layout.Hole.SLOW, -4)
    library.check(library.Code(bytes(8), [jump] * 5), "small")
    for code in (
        library.Code(bytes(8), [jump] * 30),
        library.Code(bytes(400), []),
        library.Code(bytes(8), [(2, layout.PC32, layout.Hole.TAKEN, -4)] * 2),
    ):
        with pytest.raises(library.TemplateError):
            library.check(code, "t")
