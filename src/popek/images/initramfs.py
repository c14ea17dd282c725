"""The small archives that a kernel starts from: busybox, a few modules, the scripts in guest/.

Which script does what is told in the scripts; this file only packs them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from importlib.resources import files

from popek.images.cpio import Cpio
from popek.images.errors import BadPackage
from popek.images.kernel import depends
from popek.images.modules import slim

FOLDERS = ("dev", "proc", "sys", "root", "tmp", "run", "etc", "var")


def script(name: str) -> bytes:
    """One of the guest's scripts."""
    return (files("popek.images") / "guest" / name).read_bytes()


def base(out: Cpio, busybox: bytes, version: str, modules: Mapping[str, bytes], init: str) -> None:
    """What all have: /init, busybox, a console, and `modules` in the order to load them."""
    for folder in FOLDERS:
        out.folder(folder, 0o700 if folder == "root" else 0o1777 if folder == "tmp" else 0o755)
    out.device("dev/console", "c", 5, 1)
    out.file("init", script(init), 0o755)
    out.file("bin/busybox", busybox, 0o755)
    for name in ("sh", "mount"):  # busybox finds its other commands through /proc/self/exe
        out.link(f"bin/{name}", "busybox")
    folder = f"lib/modules/{version}"
    lines = []
    for name, data in modules.items():
        out.file(f"{folder}/{name}.ko", slim(data))
        lines.append(f"{name}.ko: " + " ".join(f"{other}.ko" for other in depends(data, name)))
    out.file(f"{folder}/modules.dep", "".join(line.rstrip() + "\n" for line in lines).encode())
    out.file("modules", " ".join(modules).encode() + b"\n")


def for_disk(busybox: bytes, version: str, modules: Mapping[str, bytes]) -> bytes:
    """Starts a guest whose root is /dev/vda."""
    buffer = io.BytesIO()
    out = Cpio(buffer)
    base(out, busybox, version, modules, "run-disk.sh")
    _agent(out)
    out.close()
    return buffer.getvalue()


def for_memory(busybox: bytes, version: str, modules: Mapping[str, bytes]) -> bytes:
    """A whole guest: busybox and nothing else."""
    buffer = io.BytesIO()
    out = Cpio(buffer)
    base(out, busybox, version, modules, "run-memory.sh")
    _agent(out)
    for name in applets(busybox):
        if name not in ("busybox", "sh", "mount", "linuxrc"):
            out.link(f"bin/{name}", "busybox")
    out.link("sbin", "bin")
    out.folder("usr")
    for name in ("bin", "sbin"):
        out.link(f"usr/{name}", "../bin")
    out.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    out.file("etc/group", b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")
    out.file("etc/hosts", b"127.0.0.1 localhost busybox\n::1 localhost\n")
    out.file("etc/profile", b"PS1='\\u@\\h:\\w\\$ '\n")
    out.close()
    return buffer.getvalue()


def _agent(out: Cpio) -> None:
    out.file("agent", script("agent.sh"))
    out.file("child", script("child.sh"))


def applets(busybox: bytes) -> list[str]:
    """The commands a busybox has, out of its sorted table of names (applet_names[], include/applet_tables.h)."""
    start = busybox.find(b"[\0[[\0a")
    if start < 0:
        raise BadPackage("the busybox package holds no busybox that is known here")
    table = busybox[start : busybox.index(b"\0\0", start)]
    return [name for name in table.decode("ascii", "replace").split("\0") if re.fullmatch(r"[\w.\[+-]+", name)]
