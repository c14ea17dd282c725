"""The images there are, by name, and the few facts that building and starting them share. Constants only."""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
    """How an image is made; a new version means that images of older ones are built anew."""

    version: str
    on_disk: bool
    description: str


RECIPES = {
    "debian": Recipe("trixie-1", True, "Debian 13 (trixie) for riscv64, with apt, on a disk of its own"),
    "busybox": Recipe("trixie-1", False, "Debian's kernel and busybox, in memory: the smallest guest"),
}

# One reset is the end; the seed is in the device tree. Left out are self-tests of the kernel's ciphers and random
# numbers (0.2 G of 0.6 G instructions of a boot), and the hardening that clears all memory before the kernel uses it.
APPEND = (
    "console=ttyS0 quiet panic=-1 random.trust_bootloader=on init_on_alloc=0 "
    "cryptomgr.notests=1 initcall_blacklist=jent_mod_init,crypto_kdf108_init"
)
SERIAL = "popek-root"  # of the disk that a guest mounts as its root
