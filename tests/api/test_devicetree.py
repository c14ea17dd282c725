"""The machine's device tree, against what Linux's bindings ask for and what QEMU's board has."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest

from popek.abi.fdt import Node, cells, parse, text, wide
from popek.api.devicetree import Place, build, isa_string

EXTENSIONS = ("i", "m", "a", "f", "d", "c", "zicsr", "zicbom", "zicboz", "zba", "sstc", "svadu")
DEVICES = [
    Place("serial", 0x1000_0000, 0x100, 10), Place("test", 0x10_0000, 0x1000), Place("rtc", 0x10_1000, 0x1000, 11),
    Place("clint", 0x200_0000, 0x1_0000), Place("plic", 0xC00_0000, 0x60_0000),
    Place("virtio", 0x1000_1000, 0x1000, 1), Place("virtio", 0x1000_2000, 0x1000, 2),
]  # fmt: skip


def tree(harts: int = 2, **more) -> Node:
    options = {"bootargs": "console=ttyS0", "initrd": (0x8800_0000, 0x8812_3456), "seed": bytes(range(64))} | more
    return parse(build(harts=harts, extensions=EXTENSIONS, memory=512 << 20, devices=DEVICES, **options))


def test_chosen() -> None:
    assert tree()["chosen"].properties == {
        "bootargs": text("console=ttyS0"),
        "linux,initrd-start": wide(0x8800_0000),
        "linux,initrd-end": wide(0x8812_3456),
        "stdout-path": text("/soc/serial@10000000"),
        "rng-seed": bytes(range(64)),
    }
    assert list(tree(bootargs="", initrd=(0, 0), seed=b"")["chosen"].properties) == ["stdout-path"]


def test_memory() -> None:
    assert tree()["memory@80000000"].properties["reg"] == wide(0x8000_0000, 512 << 20)


@pytest.mark.parametrize("harts", [1, 2, 8])
def test_harts(harts) -> None:
    cpus = tree(harts)["cpus"]
    assert cpus.properties["timebase-frequency"] == cells(10_000_000)
    assert [c.name for c in cpus.children] == [*(f"cpu@{n}" for n in range(harts)), "cpu-map"]
    for number, cpu in enumerate(cpus.children[:-1]):
        assert cpu.properties["reg"] == cells(number)
        assert cpu.properties["mmu-type"] == text("riscv,sv57")
        assert cpu.properties["riscv,isa-base"] == text("rv64i")
        assert cpu.properties["riscv,isa-extensions"] == text(*EXTENSIONS)
        assert cpu.properties["riscv,cboz-block-size"] == cells(64) == cpu.properties["riscv,cbom-block-size"]
    assert len(cpus["cpu-map/cluster0"].children) == harts


def handles(root: Node) -> dict[int, Node]:
    found: dict[int, Node] = {}
    for node in root.walk():
        if "phandle" in node.properties:
            (number,) = struct.unpack(">I", node.properties["phandle"])
            assert number not in found
            found[number] = node
    return found


@pytest.mark.parametrize("harts", [1, 3, 8])
def test_interrupts_lead_somewhere(harts) -> None:
    root = tree(harts)
    known = handles(root)
    plic, clint = root["soc/plic@c000000"], root["soc/clint@2000000"]
    for node, lines in ((plic, (11, 9)), (clint, (3, 7))):
        pairs = list(struct.iter_unpack(">II", node.properties["interrupts-extended"]))
        assert [line for _, line in pairs] == list(lines) * harts
        for hart in range(harts):  # contexts in the order of harts: machine mode, then supervisor mode
            controller = root[f"cpus/cpu@{hart}/interrupt-controller"]
            assert known[pairs[2 * hart][0]] is controller is known[pairs[2 * hart + 1][0]]
    assert plic.properties["riscv,ndev"] == cells(95)
    for name, irq in (("serial@10000000", 10), ("rtc@101000", 11), ("virtio_mmio@10002000", 2)):
        node = root["soc/" + name]
        assert node.properties["interrupts"] == cells(irq)
        assert known[struct.unpack(">I", node.properties["interrupt-parent"])[0]] is plic


def test_the_end() -> None:
    root = tree()
    assert root["poweroff"].properties["value"] == cells(0x5555)
    assert root["reboot"].properties["value"] == cells(0x7777)
    (handle,) = struct.unpack(">I", root["reboot"].properties["regmap"])
    assert handles(root)[handle] is root["soc/test@100000"]


def test_isa_string() -> None:
    names = ["svinval", "zba", "c", "d", "zicsr", "i", "sstc", "f", "a", "m", "zifencei", "b", "zfh"]
    assert isa_string(names) == "rv64imafdc_zicsr_zifencei_zfh_zba_sstc_svinval"


@pytest.mark.skipif(not shutil.which("dtc"), reason="needs dtc")
def test_dtc_has_nothing_to_say(tmp_path) -> None:
    (tmp_path / "a.dtb").write_bytes(build(harts=2, extensions=EXTENSIONS, memory=1 << 29, devices=DEVICES))
    done = subprocess.run(["dtc", "-I", "dtb", "-O", "dts", tmp_path / "a.dtb"], capture_output=True, check=True)
    # QEMU's has the same one: the binding of riscv,cpu-intc does not know #address-cells
    complaints = [line for line in done.stderr.splitlines() if b"Warning" in line and b"interrupt_provider" not in line]
    assert not complaints


@pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="needs qemu-system-riscv64")
def test_qemu_has_the_same(tmp_path) -> None:
    """Nodes that both boards have agree in everything a driver looks at."""
    path = tmp_path / "q.dtb"
    subprocess.run(
        ["qemu-system-riscv64", "-M", f"virt,dumpdtb={path}", "-smp", "2", "-m", "512", "-display", "none"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    theirs, ours = parse(path.read_bytes()), tree(2)
    for place in (
        "test@100000", "rtc@101000", "serial@10000000", "clint@2000000", "plic@c000000", "virtio_mmio@10001000",
    ):  # fmt: skip
        theirs_node, ours_node = theirs["soc/" + place], ours["soc/" + place]
        for name in ("reg", "compatible", "interrupts", "clock-frequency", "#interrupt-cells", "interrupt-controller"):
            assert theirs_node.properties.get(name) == ours_node.properties.get(name), (place, name)
    for name in ("poweroff", "reboot"):
        for key in ("value", "offset", "compatible"):
            assert theirs[name].properties[key] == ours[name].properties[key]
