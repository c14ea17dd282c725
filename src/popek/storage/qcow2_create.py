"""New qcow2 images, version 3: empty ones, and ones that build on another image. Never changes an image that exists."""

from __future__ import annotations

import os

from popek.storage import errors
from popek.storage.file import File
from popek.storage.qcow2_layout import BACKING_FORMAT, EXTENSION, MAGIC, MAX_NAME, V2, V3

CLUSTER_BITS = 16


def create(
    path: str, size: int, backing: str = "", backing_format: str = "", cluster_bits: int = CLUSTER_BITS
) -> None:
    """An image of `size` bytes at `path`. `backing` is a path as seen from the image's folder; give its format, too."""
    cluster = 1 << cluster_bits
    l1_entries = -(-size // (cluster * (cluster // 8)))
    l1_clusters = max(1, -(-8 * l1_entries // cluster))
    name = os.fsencode(backing)
    if len(name) > MAX_NAME or (backing and not backing_format):
        raise errors.BadInput(f"disk {path}: it cannot build on {backing!r}", "give a shorter path, and its format")
    # cluster 0: header, 1: refcount table, 2: refcount block, from 3 on: L1
    extensions = b""
    if backing:
        kind = backing_format.encode()
        extensions = EXTENSION.pack(BACKING_FORMAT, len(kind)) + kind + bytes(-len(kind) % 8)
    extensions += EXTENSION.pack(0, 0)
    header_size = V2.size + V3.size + 8
    name_at = header_size + len(extensions) if backing else 0
    header = V2.pack(
        MAGIC, 3, name_at, len(name), cluster_bits, size, 0, l1_entries, 3 * cluster, cluster, 1, 0, 0
    ) + V3.pack(0, 0, 0, 4, header_size)
    used = 3 + l1_clusters
    if used * 2 > cluster:
        raise errors.BadInput(f"disk {path}: too large for clusters of {cluster} bytes", "choose larger clusters")
    pieces = {
        0: header + bytes(8) + extensions + name,
        cluster: (2 * cluster).to_bytes(8, "big"),
        2 * cluster: b"\0\1" * used,
    }
    _write(path, pieces, used * cluster)


def _write(path: str, pieces: dict[int, bytes], size: int) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        raise errors.BadInput(f"disk {path}: there is such a file already", "choose another name") from None
    except OSError as error:
        raise errors.from_os(error, path) from error
    file = File(path, True)
    try:
        for offset, data in pieces.items():
            file.write(offset, data)
        file.grow(size)
        file.sync()
    except BaseException:
        os.unlink(path)
        raise
    finally:
        file.close()
