"""One virtual machine described as data: what `popek boot` and `popek run` build and `api/machine` wires together.

Plain values only: no open files, no running things, no defaults that depend on the host. Named tuples, because
importing dataclasses would cost every start 17 ms.
"""

from __future__ import annotations

from typing import NamedTuple

from popek.base.errors import BadInput

MIB = 1 << 20
MAX_HARTS = 8
MIN_MEMORY = 4 * MIB  # a bare-metal program and its device tree
MAX_MEMORY = 64 << 30

_UNITS = {"": MIB, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Disk(NamedTuple):
    """A virtio block device. `overlay` keeps the file unchanged: writes go to memory and are forgotten at the end."""

    path: str
    format: str = ""  # empty: found out from the file
    readonly: bool = False
    overlay: bool = False
    serial: str = ""
    backing_anywhere: bool = False  # a qcow2's backing file may lie outside of its folder


class Spec(NamedTuple):
    """The virtual machine: resources, what to start, and the devices shown to the guest."""

    kernel: str = ""
    initrd: str = ""
    append: str = ""
    bios: str = ""  # machine-mode firmware; without it the monitor itself provides SBI
    memory: int = 512 * MIB
    harts: int = 1
    disks: tuple[Disk, ...] = ()
    engine: str = "auto"
    name: str = ""
    rng: bool = True
    vector: bool = False  # the harts have the vector extension
    check: str = ""  # the engine that runs beside the first one and is compared with it

    def checked(self) -> Spec:
        """This spec if it can be a machine at all; BadInput otherwise."""
        if not 1 <= self.harts <= MAX_HARTS:
            raise BadInput(f"{self.harts} harts cannot be: a machine has 1 to {MAX_HARTS}", "choose another --smp")
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY:
            raise BadInput(
                f"{self.memory} bytes of memory cannot be: a machine has {MIN_MEMORY // MIB} MiB to "
                f"{MAX_MEMORY >> 30} GiB",
                "choose another --memory",
            )
        if self.memory % 4096:
            raise BadInput(f"{self.memory} bytes of memory are not whole pages of 4096", "choose another --memory")
        if not self.kernel and not self.bios:
            raise BadInput("nothing to start", "name a kernel or a --bios")
        return self


def parse_size(text: str) -> int:
    """Bytes of `512M`, `2G`, `1024k`; a bare number is mebibytes, as QEMU's -m has it."""
    unit = text.strip().lstrip("0123456789")
    number = text.strip().removesuffix(unit)
    unit = unit.strip().lower()
    if unit.endswith("b"):
        unit = unit[:-1].removesuffix("i")
    if not number or unit not in _UNITS:
        raise BadInput(f"{text!r} is not an amount of memory", "write it as 512M or 2G")
    return int(number) * _UNITS[unit]
