"""A flame graph of call stacks, as one self-contained SVG: callers below, what they called above, widths as samples."""

from __future__ import annotations

from html import escape

from popek.api.profile import Stacks

WIDTH, HEIGHT, LEAST = 1200, 17, 0.2  # pixels: of the picture, of a line, of the narrowest box drawn
LETTER = 7  # pixels
HUES = {"user": 75, "kernel": 10, "machine": 180}  # degrees, and the 40 behind
# A click on a box gives it the whole width, as well as what is below it; one on the lowest shows everything again
SCRIPT = f"""
const boxes = [...document.querySelectorAll("g")].map(g => {{
  const [title, rect, text] = g.children;
  const [x, y, w] = ["x", "y", "width"].map(name => Number(rect.getAttribute(name)));
  return {{g, rect, text, x, y, w, name: title.textContent.replace(/: \\d+ samples.*$/, "")}};
}});
function show(box, x, w) {{
  const room = Math.floor((w - 6) / {LETTER});
  box.g.style.display = w < {LEAST} ? "none" : "";
  box.rect.setAttribute("x", x);
  box.rect.setAttribute("width", w);
  box.text.setAttribute("x", x + 3);
  box.text.textContent =
    box.name.length <= room ? box.name : room > 3 ? box.name.slice(0, room - 2) + ".." : "";
}}
function zoom(to) {{
  const more = {WIDTH} / to.w, near = 0.02;
  for (const box of boxes) {{
    const around = box.x <= to.x + near && box.x + box.w >= to.x + to.w - near;
    const inside = box.x >= to.x - near && box.x + box.w <= to.x + to.w + near;
    if (box.y >= to.y && around) show(box, 0, {WIDTH});
    else if (box.y < to.y && inside) show(box, (box.x - to.x) * more, box.w * more);
    else show(box, 0, 0);
  }}
}}
for (const box of boxes) box.g.addEventListener("click", () => zoom(box));
"""


class _Node:
    def __init__(self, where: str = "") -> None:
        self.count, self.where = 0, where
        self.below: dict[str, _Node] = {}


def flame(made: Stacks, title: str) -> str:
    """The picture: at the bottom everything, then tasks if they are known, then modes, then functions."""
    root = _Node()
    for stack, count in made.items():
        node = root
        node.count += count
        if stack.task:
            node = node.below.setdefault(_shown(stack.task), _Node())
            node.count += count
        for name in (stack.where, *(name.text() for name in stack.names)):
            node = node.below.setdefault(_shown(name), _Node(stack.where))
            node.count += count
    boxes: list[tuple[str, _Node, float, int]] = []
    waiting = [("all", root, 0.0, 0)]
    while waiting:
        name, node, left, level = waiting.pop()
        if not root.count or WIDTH * node.count / root.count < LEAST:
            continue
        boxes.append((name, node, left, level))
        for below, child in sorted(node.below.items()):
            waiting.append((below, child, left, level + 1))
            left += WIDTH * child.count / root.count
    height = HEIGHT * (max((level for *_, level in boxes), default=0) + 3)
    drawn = [_box(name, node, left, height - HEIGHT * (level + 1), root.count) for name, node, left, level in boxes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="4" y="14">{escape(_shown(title))}</text>\n'
        + "\n".join(drawn)
        + f"\n<script><![CDATA[{SCRIPT}]]></script>\n</svg>\n"
    )


def _box(name: str, node: _Node, left: float, y: int, everything: int) -> str:
    width = WIDTH * node.count / everything
    told = escape(f"{name}: {node.count} samples, {100 * node.count / everything:.2f} %")
    shown = escape(_short(name, int((width - 6) / LETTER)))
    hue = HUES.get(node.where, 0) + sum(name.encode()) % 40
    colour = f"hsl({hue},70%,70%)" if node.where else "#ddd"
    return (
        f'<g><title>{told}</title><rect x="{left:.2f}" y="{y}" width="{width:.2f}" height="{HEIGHT - 1}" '
        f'fill="{colour}"/><text x="{left + 3:.2f}" y="{y + 12}">{shown}</text></g>'
    )


def _short(name: str, room: int) -> str:
    """As much of it as there is room for."""
    if len(name) <= room:
        return name
    return name[: room - 2] + ".." if room > 3 else ""


def _shown(text: str) -> str:
    """Without what XML does not have: control characters, halves of pairs."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
