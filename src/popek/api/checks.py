"""`popek doctor`: what works on this host, one Check after the other. Changes nothing but the code cache."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from popek.base.errors import PopekError

if TYPE_CHECKING:
    from popek.api.machine import Machine

ROOM = 3 << 30  # bytes that a first `popek run debian` may need
MEMORY = 1 << 30
GUEST_SECONDS = 60


class Check(NamedTuple):
    """One thing looked at. `good` None: it is missing, and nothing needs it yet."""

    name: str
    good: bool | None
    says: str
    hint: str = ""

    def mark(self) -> str:
        return {True: "ok", False: "FAILS", None: "-"}[self.good]


def run(offline: bool = False) -> Iterator[Check]:
    """All checks, quick ones first."""
    yield Check("host", sys.platform == "linux", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Check("python", True, f"{platform.python_version()}, {platform.python_implementation()}")
    yield _compiler()
    yield _executable_memory()
    yield _processors()
    yield _memory()
    yield _kvm()
    yield _disk()
    yield from _mirror(offline)
    for engine, loops in (("template", 1 << 25), ("reference", 1 << 12)):
        yield _guest(engine, loops)


def _compiler() -> Check:
    try:
        import llvmlite
    except (ImportError, OSError) as error:
        return Check("compiler", False, f"llvmlite does not load: {error}", "pip install --force-reinstall llvmlite")
    return Check("compiler", True, f"llvmlite {llvmlite.__version__}")


def _executable_memory() -> Check:
    """May a process have memory that is executable, as every just-in-time compiler needs?"""
    import mmap

    try:
        fd = os.memfd_create("popek-check", os.MFD_CLOEXEC)
    except OSError as error:
        return Check(
            "jit", False, f"no memfd: {error.strerror}", "allow memfd_create in the container's seccomp profile"
        )
    try:
        os.ftruncate(fd, mmap.PAGESIZE)
        mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC).close()
    except OSError as error:
        hint = "the host forbids executable memory (SELinux execmem, noexec or systemd MemoryDenyWriteExecute)"
        return Check("jit", False, f"no executable mapping: {error.strerror}", hint)
    finally:
        os.close(fd)
    return Check("jit", True, "executable memory, never writable at once")


def _processors() -> Check:
    count = len(os.sched_getaffinity(0))
    return Check("processors", True, f"{count} for this process")


def _memory() -> Check:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
            return Check("memory", free >= MEMORY, f"{free >> 20} MiB available", "give guests less --memory")
    return Check("memory", None, "unknown")


def _kvm() -> Check:
    path = "/dev/kvm"
    if not os.path.exists(path):
        return Check("kvm", None, "not here; RISC-V guests do not need it")
    if not os.access(path, os.R_OK | os.W_OK):
        return Check("kvm", None, "no permission; RISC-V guests do not need it", "adduser $USER kvm, then log in again")
    return Check("kvm", True, "available; RISC-V guests do not need it")


def _disk() -> Check:
    from popek.images import keeping

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    where = cache / "popek"
    probe = where
    while not probe.exists():
        probe = probe.parent
    if not os.access(probe, os.W_OK):
        return Check("cache", False, f"{where}: cannot be written", "set XDG_CACHE_HOME to a folder of yours")
    status = where.stat() if where.exists() else None
    if status and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        return Check("cache", False, f"{where} is not yours alone, so nothing is kept there", f"chmod go-w {where}")
    free = shutil.disk_usage(probe).free
    used = keeping.use()
    says = f"{where}: {free / 1e9:.1f} GB free; images {used.images / 1e6:.0f} MB"
    says += f", compiled code {used.code / 1e6:.1f} MB, of guests {used.regions / 1e6:.1f} MB"
    return Check("cache", free >= ROOM, says, "free some space, `popek prune`, or set XDG_CACHE_HOME")


def _mirror(offline: bool) -> Iterator[Check]:
    from popek.images import mirror

    try:
        found = mirror.find()
    except PopekError as error:
        yield Check("mirror", False, error.what, error.hint)
        return
    if offline:
        yield Check("mirror", True, f"{found[0]} (not asked)")
        return
    import urllib3

    url = f"{found[0].rstrip('/')}/dists/trixie/InRelease"
    try:
        answer = urllib3.PoolManager().request("HEAD", url, timeout=10.0, retries=1)
    except urllib3.exceptions.HTTPError as error:
        yield Check("mirror", False, f"{found[0]}: {error}", "only first runs of an image need the network")
        return
    yield Check("mirror", answer.status == 200, f"{found[0]} answers {answer.status}", "set POPEK_DEBIAN_MIRROR")


def _guest(engine: str, loops: int) -> Check:
    """Boot a program of a few instructions to its end."""
    from popek.api import actions
    from popek.api.spec import Spec

    name = "guest" if engine == "template" else "guest (slow)"
    said = bytearray()
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(micro_guest(loops))
        file.flush()
        began = time.monotonic()

        def attend(machine: Machine) -> int:
            import select

            nonlocal began
            began = time.monotonic()
            poll = select.poll()
            poll.register(machine.done, select.POLLIN)
            if not poll.poll(GUEST_SECONDS * 1000):
                machine.stop()
                return 1
            return 0

        try:
            spec = Spec(kernel=file.name, memory=16 << 20, engine=engine)
            ended = actions.boot(spec, attend, output=said.extend, reboot=False)
        except Exception as error:  # a doctor tells of every illness
            return Check(name, False, f"{engine}: {error}")
    seconds = time.monotonic() - began
    if ended.kind != "off" or bytes(said) != b"ok\n":
        return Check(name, False, f"{engine}: ended as {ended.kind}, said {bytes(said)!r}")
    rate = 3 * loops / seconds / 1e6
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.3f}"
    return Check(name, True, f"engine {engine}: about {shown} million instructions a second")


def micro_guest(loops: int) -> bytes:
    """An ELF program for machine mode: counts `loops` (a multiple of 4096) down, says `ok`, powers off."""
    code = [
        0x10000437,  # lui s0, 0x10000         the UART
        loops & 0xFFFFF000 | 0x2B7,  # lui t0, loops
        0xFFF28293,  # addi t0, t0, -1
        0x00330313,  # addi t1, t1, 3
        0xFE029CE3,  # bnez t0, -8
        0x06F00393,  # li t2, 'o'
        0x00740023,  # sb t2, 0(s0)
        0x06B00393,  # li t2, 'k'
        0x00740023,  # sb t2, 0(s0)
        0x00A00393,  # li t2, '\n'
        0x00740023,  # sb t2, 0(s0)
        0x00100437,  # lui s0, 0x100           the test finisher
        0x000053B7,  # lui t2, 5
        0x55538393,  # addi t2, t2, 0x555
        0x00742023,  # sw t2, 0(s0)
        0x0000006F,  # j .
    ]
    body = struct.pack(f"<{len(code)}I", *code)
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 243, 1, 0x80000000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 120, 0x80000000, 0x80000000, len(body), len(body), 4096) + body
