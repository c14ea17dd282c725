"""What a qcow2 image looks like on disk: header, header extensions, table entries. QEMU docs/interop/qcow2.txt.

Only reading and checking of layouts; what they are for is qcow2.py's.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from popek.storage.errors import BadDisk
from popek.storage.file import File

MAGIC = b"QFI\xfb"
V2 = Struct(">4sIQIIQIIQQIIQ")
V3 = Struct(">QQQII")
EXTENSION = Struct(">II")
BACKING_FORMAT, FEATURE_NAMES, BITMAPS = 0xE2792ACA, 0x6803F857, 0x23852875

# "Incompatible features"
DIRTY, CORRUPT, DATA_FILE, COMPRESSION_TYPE, EXTENDED_L2 = 1, 2, 4, 8, 16
KNOWN = DIRTY | CORRUPT | COMPRESSION_TYPE
_NAMES = {DATA_FILE: "an external data file", EXTENDED_L2: "extended L2 entries"}
ZLIB, ZSTD = 0, 1

# Table entries
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
OFFSET = (1 << 56) - (1 << 9)

# Places in the header that are written
L1_AT, REFCOUNT_TABLE_AT, AUTOCLEAR_AT = 40, 48, 88

MAX_L1_ENTRIES = (32 << 20) // 8  # as QEMU has it
MAX_REFCOUNT_TABLE = 8 << 20
MAX_NAME = 1023
MAX_EXTENSIONS = 64


class Header(NamedTuple):
    """The header, checked: every table is aligned and has a size that can be."""

    version: int
    cluster_bits: int
    size: int
    l1_entries: int
    l1_offset: int
    refcount_table: int
    refcount_clusters: int
    refcount_order: int
    snapshots: int
    incompatible: int
    autoclear: int
    compression: int
    backing: str
    backing_format: str

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits


def read_header(file: File) -> Header:
    """The header of `file`. Raises BadDisk for what it cannot be or what is not supported."""
    raw = file.read(0, 4096)
    (magic, version, name_at, name_size, cluster_bits, size, crypt, l1_entries, l1_offset, table, table_clusters,
     snapshots, _) = V2.unpack_from(raw)  # fmt: skip

    def bad(what: str, hint: str = "") -> BadDisk:
        return BadDisk(f"disk {file.path}: {what}", hint)

    if magic != MAGIC:
        raise bad("not a qcow2 image")
    if version not in (2, 3):
        raise bad(f"qcow2 version {version}", "versions 2 and 3 are known")
    if not 9 <= cluster_bits <= 21:
        raise bad(f"damaged: clusters of 2^{cluster_bits} bytes")
    if crypt:
        raise bad("an encrypted qcow2 image", "decrypt it: qemu-img convert")
    incompatible = autoclear = compression = 0
    order, length = 4, V2.size
    if version == 3:
        incompatible, _, autoclear, order, length = V3.unpack_from(raw, V2.size)
        if not V2.size + V3.size <= length <= min(1 << cluster_bits, 4096) or length % 8:
            raise bad(f"damaged: a header of {length} bytes")
        if length > 104:
            compression = raw[104]
    cluster = 1 << cluster_bits
    if order > 6:
        raise bad(f"damaged: reference counts of 2^{order} bits")
    if not size or size > 1 << 62:
        raise bad(f"damaged: a disk of {size} bytes")
    needed = -(-size // (cluster * (cluster // 8)))
    if l1_entries > MAX_L1_ENTRIES or l1_entries < needed:
        raise bad(f"damaged: an L1 table of {l1_entries} entries for {size} bytes")
    if l1_offset % cluster or not 0 < l1_offset < 1 << 56:
        raise bad(f"damaged: an L1 table at {l1_offset:#x}")
    if table % cluster or not 0 < table < 1 << 56 or not 0 < table_clusters <= MAX_REFCOUNT_TABLE >> cluster_bits:
        raise bad(f"damaged: a refcount table of {table_clusters} clusters at {table:#x}")
    extensions = _extensions(file, length, name_at if name_at else cluster, cluster)
    if unknown := incompatible & ~KNOWN:
        raise bad(f"it needs {_feature_names(unknown, extensions)}", "convert it: qemu-img convert -O qcow2")
    if compression not in (ZLIB, ZSTD) or bool(compression) != bool(incompatible & COMPRESSION_TYPE):
        raise bad(f"a compression of kind {compression}", "zlib (0) and zstd (1) are known")
    name = ""
    if name_at:
        if name_size > MAX_NAME or name_at + name_size > cluster or name_at < length:
            raise bad("damaged: the name of its backing file")
        name = _decoded(file.read(name_at, name_size))
    return Header(
        version, cluster_bits, size, needed, l1_offset, table, table_clusters, order, snapshots, incompatible,
        autoclear, compression, name, _decoded(extensions.get(BACKING_FORMAT, b"")),
    )  # fmt: skip


def _extensions(file: File, at: int, end: int, cluster: int) -> dict[int, bytes]:
    """"Header extensions": kind and contents; they end where the backing file's name begins."""
    raw = file.read(0, min(end, cluster, 1 << 16))
    found: dict[int, bytes] = {}
    while at + EXTENSION.size <= len(raw) and len(found) < MAX_EXTENSIONS:
        kind, size = EXTENSION.unpack_from(raw, at)
        if not kind:
            break
        at += EXTENSION.size
        if size > len(raw) - at:
            raise BadDisk(f"disk {file.path}: damaged: a header extension of {size} bytes")
        found[kind] = raw[at : at + size]
        at += -(-size // 8) * 8
    return found


def _feature_names(bits: int, extensions: dict[int, bytes]) -> str:
    """What the image itself calls its features ("Feature name table"), or what we do."""
    names = dict(_NAMES)
    table = extensions.get(FEATURE_NAMES, b"")
    for at in range(0, len(table) - 47, 48):
        if table[at] == 0 and table[at + 1] < 64:
            names.setdefault(1 << table[at + 1], repr(_decoded(table[at + 2 : at + 48].rstrip(b"\0"))))
    wanted = [1 << n for n in range(64) if bits >> n & 1]
    return ", ".join(names.get(bit, f"feature {bit.bit_length() - 1}") for bit in wanted) + ", not supported"


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
