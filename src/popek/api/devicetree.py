"""The device tree of a machine, from the same description that wires it. Which devices there are, and where, is the
caller's. It is laid out as QEMU's `virt` board has it, so that Linux, OpenSBI and U-Boot find everything.

Bindings: Linux Documentation/devicetree/bindings; the ISA: riscv/extensions.yaml there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from popek.abi.fdt import FLAG, Node, blob, cells, text, wide

RAM_BASE = 0x8000_0000
TIMEBASE = 10_000_000
PLIC_SOURCES = 96
CACHE_BLOCK = 64
UART_CLOCK = 3_686_400

# Causes of a hart's own interrupts: Privileged ISA, "Machine Cause (mcause) Register"
S_EXTERNAL, M_SOFTWARE, M_TIMER, M_EXTERNAL = 9, 3, 7, 11

# Unprivileged ISA, "ISA Extension Naming Conventions": the order of single letters, and of Z extensions by their second
_LETTERS = "iemafdqlcbkjtpvnh"


class Place(NamedTuple):
    """One device: what it is (a name in KINDS), where it is, and its line into the interrupt controller (0: none)."""

    kind: str
    base: int
    size: int
    irq: int = 0


class _Handles(NamedTuple):
    """Numbers by which nodes refer to each other."""

    harts: tuple[int, ...]
    interrupt_controllers: tuple[int, ...]
    plic: int
    test: int


def build(
    *,
    harts: int,
    extensions: Sequence[str],
    memory: int,
    devices: Iterable[Place],
    bootargs: str = "",
    initrd: tuple[int, int] = (0, 0),
    seed: bytes = b"",
    paging: str = "sv57",
    timebase: int = TIMEBASE,
) -> bytes:
    """The blob. `extensions` as in riscv,isa-extensions (i, m, ..., zba, sstc); `seed` are fresh random bytes."""
    places = list(devices)
    handles = _Handles(tuple(range(1, 2 * harts, 2)), tuple(range(2, 2 * harts + 1, 2)), 2 * harts + 1, 2 * harts + 2)
    soc = Node(
        "soc",
        {"#address-cells": cells(2), "#size-cells": cells(2), "compatible": text("simple-bus"), "ranges": FLAG},
        [_device(place, handles) for place in sorted(places, key=lambda place: place.base)],
    )
    root = Node(
        "",
        {
            "#address-cells": cells(2),
            "#size-cells": cells(2),
            "compatible": text("riscv-virtio"),
            "model": text("riscv-virtio,popek"),
        },
        [
            _chosen(places, bootargs, initrd, seed),
            Node(f"memory@{RAM_BASE:x}", {"device_type": text("memory"), "reg": wide(RAM_BASE, memory)}),
            _cpus(handles, tuple(extensions), paging, timebase),
            *_power(places, handles),
            soc,
        ],
    )
    return blob(root)


def isa_string(extensions: Iterable[str]) -> str:
    """The older form: rv64imafdc_zicsr_..., in canonical order."""
    known = set(extensions)
    single = sorted((e for e in known if len(e) == 1 and e != "b"), key=_LETTERS.index)
    return "_".join(["rv64" + "".join(single), *sorted((e for e in known if len(e) > 1), key=_rank)])


def _rank(extension: str) -> tuple[int, int, str]:
    """Z extensions by category, then S, then the rest."""
    group = {"z": 0, "s": 1}.get(extension[0], 2)
    return group, _LETTERS.find(extension[1]) if not group else 0, extension


def _chosen(places: list[Place], bootargs: str, initrd: tuple[int, int], seed: bytes) -> Node:
    chosen = Node("chosen")
    if bootargs:
        chosen.properties["bootargs"] = text(bootargs)
    if initrd[1]:
        chosen.properties["linux,initrd-start"] = wide(initrd[0])
        chosen.properties["linux,initrd-end"] = wide(initrd[1])
    for place in places:
        if place.kind == "serial":
            chosen.properties["stdout-path"] = text(f"/soc/serial@{place.base:x}")
            break
    if seed:
        chosen.properties["rng-seed"] = seed
    return chosen


def _cpus(handles: _Handles, extensions: tuple[str, ...], paging: str, timebase: int) -> Node:
    children = []
    for hart, (phandle, intc) in enumerate(zip(handles.harts, handles.interrupt_controllers, strict=True)):
        properties = {
            "phandle": cells(phandle),
            "device_type": text("cpu"),
            "reg": cells(hart),
            "status": text("okay"),
            "compatible": text("riscv"),
            "riscv,isa": text(isa_string(extensions)),
            "riscv,isa-base": text("rv64i"),
            "riscv,isa-extensions": text(*extensions),
            "mmu-type": text(f"riscv,{paging}"),
        }
        for extension, name in (("zicbom", "cbom"), ("zicboz", "cboz"), ("zicbop", "cbop")):
            if extension in extensions:
                properties[f"riscv,{name}-block-size"] = cells(CACHE_BLOCK)
        controller = {
            "#interrupt-cells": cells(1),
            "interrupt-controller": FLAG,
            "compatible": text("riscv,cpu-intc"),
            "phandle": cells(intc),
        }
        children.append(Node(f"cpu@{hart:x}", properties, [Node("interrupt-controller", controller)]))
    cores = [Node(f"core{hart}", {"cpu": cells(phandle)}) for hart, phandle in enumerate(handles.harts)]
    children.append(Node("cpu-map", {}, [Node("cluster0", {}, cores)]))
    heading = {"#address-cells": cells(1), "#size-cells": cells(0), "timebase-frequency": cells(timebase)}
    return Node("cpus", heading, children)


def _power(places: list[Place], handles: _Handles) -> list[Node]:
    """How to end: bindings power/reset/syscon-*.yaml on the test finisher."""
    if not any(place.kind == "test" for place in places):
        return []
    return [
        Node(
            name,
            {
                "value": cells(value),
                "offset": cells(0),
                "regmap": cells(handles.test),
                "compatible": text(f"syscon-{name}"),
            },
        )
        for name, value in (("poweroff", 0x5555), ("reboot", 0x7777))
    ]


def _device(place: Place, handles: _Handles) -> Node:
    name, properties = KINDS[place.kind](handles)
    properties["reg"] = wide(place.base, place.size)
    if place.irq:
        properties["interrupt-parent"] = cells(handles.plic)
        properties["interrupts"] = cells(place.irq)
    return Node(f"{name}@{place.base:x}", properties)


def _test(handles: _Handles) -> tuple[str, dict[str, bytes]]:
    return "test", {"phandle": cells(handles.test), "compatible": text("sifive,test1", "sifive,test0", "syscon")}


def _rtc(handles: _Handles) -> tuple[str, dict[str, bytes]]:
    return "rtc", {"compatible": text("google,goldfish-rtc")}


def _clint(handles: _Handles) -> tuple[str, dict[str, bytes]]:
    lines = [cells(intc, line) for intc in handles.interrupt_controllers for line in (M_SOFTWARE, M_TIMER)]
    return "clint", {"compatible": text("sifive,clint0", "riscv,clint0"), "interrupts-extended": b"".join(lines)}


def _plic(handles: _Handles) -> tuple[str, dict[str, bytes]]:
    lines = [cells(intc, line) for intc in handles.interrupt_controllers for line in (M_EXTERNAL, S_EXTERNAL)]
    return "plic", {
        "phandle": cells(handles.plic),
        "riscv,ndev": cells(PLIC_SOURCES - 1),
        "interrupts-extended": b"".join(lines),
        "interrupt-controller": FLAG,
        "compatible": text("sifive,plic-1.0.0", "riscv,plic0"),
        "#address-cells": cells(0),
        "#interrupt-cells": cells(1),
    }


def _serial(handles: _Handles) -> tuple[str, dict[str, bytes]]:
    return "serial", {"clock-frequency": cells(UART_CLOCK), "compatible": text("ns16550a")}


def _virtio(handles: _Handles) -> tuple[str, dict[str, bytes]]:
    return "virtio_mmio", {"compatible": text("virtio,mmio")}


#: The node's name and what only this kind has. A new kind of device is one function and one row.
KINDS: dict[str, Callable[[_Handles], tuple[str, dict[str, bytes]]]] = {
    "test": _test,
    "rtc": _rtc,
    "clint": _clint,
    "plic": _plic,
    "serial": _serial,
    "virtio": _virtio,
}
