"""`popek profile`: the function that took the time is on top, whoever it belongs to, and the picture is XML."""

from __future__ import annotations

import io
import json
import os
import struct
import xml.dom.minidom
from pathlib import Path

import pytest

from popek.api.machine import TEMPLATE_HOSTS
from popek.faces import cli
from popek.images.cpio import Cpio
from tests import elves
from tests.faces.shell import popek
from tests.faces.test_run import FIRST, built
from tests.vmm import guests

FAST = ["template", "optimizing", "auto"] if os.uname().machine in TEMPLATE_HOSTS else []
ENGINES = [*FAST, "step"]
GUESTS = Path(os.environ.get("POPEK_GUESTS", "/nonexistent"))

LOOP = """
    li a0, 0
    li a1, {turns}
hot:
    addi a0, a0, 1
    blt a0, a1, hot
    li t0, 0x100000
    li t1, 0x5555
    sw t1, 0(t0)
end:
    j end
"""
HOT = guests.RAM + 4 * sum(len(guests.expand(line)) for line in ("li a0, 0", "li a1, 1"))

# Goes to user mode at USER, which is the third page of RAM, and ends at its first trap
SETUP = """
    li t0, 0x80002ffc
    addi t1, x0, 0x13
    sw t1, 0(t0)
    li t0, 0x80000800
    csrrw x0, mtvec, t0
    addi t0, x0, -1
    csrrw x0, pmpaddr0, t0
    addi t0, x0, 31
    csrrw x0, pmpcfg0, t0
    li t0, 0x80001
    addi t1, x0, 8
    slli t1, t1, 60
    or t0, t0, t1
    csrrw x0, satp, t0
    sfence.vma x0, x0
    li t0, 0x40002000
    csrrw x0, mepc, t0
    mret
"""
OFF = "    j off\n"
USER = 0x4000_2000
PROGRAM = """
    li sp, 0x40004000
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    addi s0, sp, 16
    jal ra, spin
    ecall
spin:
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    addi s0, sp, 16
    li a0, 0
    li a1, {turns}
again:
    addi a0, a0, 1
    blt a0, a1, again
    ld ra, 8(sp)
    ld s0, 0(sp)
    addi sp, sp, 16
    jalr x0, 0(ra)
"""
SPIN = 4 * (4 + 6)  # bytes before it


# A function without a loop, called by one; and one that is called through a register which calls keep
STRAIGHT = (
    """
    li s0, 0
    li s1, {turns}
    la s2, pointed
again:
    jal ra, straight
    jalr ra, 0(s2)
    addi s0, s0, 1
    blt s0, s1, again
    j off
straight:
"""
    + "    xor a0, a0, s0\n    mul a0, a0, s1\n" * 30
    + """
    jalr x0, 0(ra)
pointed:
"""
    + "    xor a0, a0, s0\n    mul a0, a0, s1\n" * 30
    + """
    jalr x0, 0(ra)
"""
)
STRAIGHT_AT = guests.RAM + 4 * (4 + 4 + 2 + 5)  # fmt: skip


def turns(engine: str) -> int:
    return 30_000_000 if engine == "step" else 1_200_000_000


def loop(folder: Path, engine: str, *symbols: tuple[str, int, int]) -> str:
    path = folder / "guest.elf"
    code = guests.assemble(LOOP.format(turns=turns(engine)), guests.RAM)
    path.write_bytes(elves.sections(elves.elf(code, guests.RAM), [], [*symbols]))
    return str(path)


def profiled(capfd, *options: str) -> dict:
    assert cli.main(["profile", "--json", *options]) == 0
    return json.loads(capfd.readouterr().out)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_hot_function_is_on_top(tmp_path, capfd, engine):
    guest = loop(tmp_path, engine, ("start", guests.RAM, HOT - guests.RAM), ("hot<loop>", HOT, 8))
    picture = tmp_path / "f.svg"
    made = profiled(capfd, "--engine", engine, "--out", str(picture), guest)
    top = made["functions"][0]
    assert (top["name"], top["file"], top["where"]) == ("hot<loop>", "", "machine")
    assert top["own"] > 0.8 * made["samples"] > 2
    titles = [t.firstChild.data for t in xml.dom.minidom.parse(str(picture)).getElementsByTagName("title")]
    assert any(title.startswith("hot<loop>: ") for title in titles)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_without_a_loop_has_its_time(tmp_path, capfd, engine):
    """Poll points are where it is called from and where it returns to."""
    path = tmp_path / "guest.elf"
    code = guests.assemble(STRAIGHT.format(turns=turns(engine) // 100), guests.RAM)
    at, size = STRAIGHT_AT, 61 * 4
    symbols = [("main", guests.RAM, at - guests.RAM), ("straight", at, size), ("pointed", at + size, size)]
    path.write_bytes(elves.sections(elves.elf(code, guests.RAM), [], symbols))
    made = profiled(capfd, "--engine", engine, str(path))
    own = {row["name"]: row["own"] for row in made["functions"]}
    assert own.get("straight", 0) + own.get("pointed", 0) > 0.7 * made["samples"] > 2
    assert min(own["straight"], own["pointed"]) > 0.2 * made["samples"]
    if engine != "step":
        totals = {row["name"]: row["total"] for row in made["functions"]}
        assert totals["main"] > 0.9 * made["samples"]


@pytest.mark.parametrize("engine", ENGINES)
def test_without_symbols_a_page_is_a_row(tmp_path, capfd, engine):
    made = profiled(capfd, "--engine", engine, loop(tmp_path, engine))
    assert {row["name"] for row in made["functions"]} == {"0x80000000..0x80000fff"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_program_of_the_initrd(tmp_path, capfd, engine):
    """In user mode at another address than it was linked for, and its page differs from the kernel's file."""
    program = guests.assemble(PROGRAM.format(turns=turns(engine)), USER).ljust(4092, b"\0")
    setup = guests.assemble(SETUP, guests.RAM).ljust(0x800, b"\0") + guests.assemble(OFF, guests.RAM + 0x800)
    table = struct.pack("<QQ", 0, 0x8000_0000 >> 2 | 0xDF).ljust(4096, b"\0")
    guest, initrd = tmp_path / "guest.elf", tmp_path / "initrd"
    guest.write_bytes(elves.elf(setup.ljust(4096, b"\0") + table + program + bytes(4), guests.RAM, memsz=5 << 12))
    symbols = [("main", 0x1_0000, SPIN), ("spin", 0x1_0000 + SPIN, 80)]
    content = io.BytesIO()
    archive = Cpio(content)
    code = program + struct.pack("<I", 0x13)
    archive.file("bin/other", elves.sections(elves.elf(program, 0x1_0000, kind=3), [], symbols))
    archive.file("bin/prog", elves.sections(elves.elf(code, 0x1_0000, kind=3), [], symbols))
    archive.close()
    initrd.write_bytes(content.getvalue())
    made = profiled(capfd, "--engine", engine, "--initrd", str(initrd), str(guest))
    rows = {(row["name"], row["file"], row["where"]): row for row in made["functions"]}
    spin = rows["spin", "prog", "user"]
    assert spin["own"] > 0.8 * made["samples"] > 2
    if engine != "step":  # which cannot be asked for callers
        assert rows["main", "prog", "user"]["total"] > 0.8 * made["samples"]


def test_a_map_and_what_is_no_symbol_file(tmp_path, capfd):
    names = tmp_path / "System.map"
    names.write_text(f"{guests.RAM:x} T start\n{HOT:x} T hot\n{HOT + 8:x} T rest\n")
    made = profiled(capfd, "--symbols", str(names), loop(tmp_path, "auto"))
    assert made["functions"][0]["name"] == "hot"
    (tmp_path / "none").write_text("nothing here\n")
    assert cli.main(["profile", "--symbols", str(tmp_path / "none"), "x.elf"]) == 125
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "no symbols" in said


def test_a_picture_that_cannot_be_written_is_told_before_the_guest_starts(tmp_path, capfd):
    assert cli.main(["profile", "--out", str(tmp_path / "no" / "f.svg"), loop(tmp_path, "step")]) == 125
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "f.svg" in said.err


def test_no_empty_picture_is_left(tmp_path, capfd):
    assert cli.main(["profile", "--out", str(tmp_path / "f.svg"), str(tmp_path / "nothing")]) == 125
    assert capfd.readouterr().err.count("\n") == 1 and not (tmp_path / "f.svg").exists()
    (tmp_path / "f.svg").write_text("mine")
    assert cli.main(["profile", "--out", str(tmp_path / "f.svg"), str(tmp_path / "nothing")]) == 125
    assert (tmp_path / "f.svg").read_text() == "mine"


def test_the_table_is_shown_if_the_picture_fails_at_the_end(tmp_path, capfd):
    assert cli.main(["profile", "--out", "/dev/full", loop(tmp_path, "auto", ("hot", HOT, 8))]) == 125
    said = capfd.readouterr()
    assert "samples)" in said.out and said.err.count("\n") == 1 and "/dev/full" in said.err


def test_the_table_for_people(tmp_path, capfd):
    guest = loop(tmp_path, "auto", ("hot", HOT, 8))
    assert cli.main(["profile", "--top", "1", guest]) == 0
    head, row = capfd.readouterr().out.splitlines()
    assert head.split()[:5] == ["self", "total", "samples", "where", "function"]
    assert row.split()[-2:] == ["machine", "hot"] and row.split()[0].endswith("%")


@pytest.mark.parametrize("engine", FAST)
def test_linux(capfd, tmp_path, engine):
    """Kernel functions from the image, user functions from busybox, tasks."""
    image, initrd = GUESTS / "Image", GUESTS / "initrd.gz"
    if not (image.exists() and initrd.exists()):
        pytest.skip("POPEK_GUESTS has no Image and initrd.gz")
    picture = tmp_path / "f.svg"
    options = ["--engine", engine, "--initrd", str(initrd), "--top", "5000", "--out", str(picture), str(image)]
    assert cli.main(["profile", "--json", *options]) == 0
    made = json.loads(capfd.readouterr().out.splitlines()[-1])
    rows = {(row["name"], row["where"]): row for row in made["functions"]}
    assert rows["kernel_init", "kernel"]["total"] > 4
    kernel = [row for row in made["functions"] if row["where"] == "kernel"]
    assert sum(row["own"] for row in kernel if ".." not in row["name"]) > 0.95 * sum(row["own"] for row in kernel)
    user = [row for row in made["functions"] if row["where"] == "user"]
    assert sum(row["own"] for row in user if row["file"] == "busybox") >= 0.5 * sum(row["own"] for row in user) > 0
    assert "swapper/0" in made["tasks"] and "init" in made["tasks"]
    xml.dom.minidom.parse(str(picture))


@pytest.mark.timeout(FIRST)
@pytest.mark.skipif(not FAST, reason="the step engine takes minutes for this")
def test_a_command_in_debian(tmp_path):
    """A library's functions on top, the command's output by itself, nothing of booting, and its exit status."""
    built("debian")
    command = "cat /usr/lib/*/lib*.so* | sha256sum | cut -c65-; exit 7"
    done = popek(
        "profile",
        "run",
        "--json",
        "--top",
        "999",
        "--out",
        str(tmp_path / "f.svg"),
        "debian",
        "--",
        "sh",
        "-c",
        command,
    )
    assert done.returncode == 7 and done.stdout == b"  -\n"
    made = json.loads(done.stderr.splitlines()[-1])
    assert made["functions"][0]["file"].startswith("libcrypto.so") and made["functions"][0]["where"] == "user"
    assert made["tasks"]["sha256sum"] > 0.4 * made["samples"] and "swapper" not in made["tasks"]
    assert any(row["file"] in ("ext4", "virtio_blk", "virtio_mmio") for row in made["functions"])
    xml.dom.minidom.parse(str(tmp_path / "f.svg"))
