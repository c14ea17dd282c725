"""Compressed clusters of qcow2 images, which are only read.

QEMU docs/interop/qcow2.txt, "Compressed Clusters Descriptor".
"""

from __future__ import annotations

from collections import OrderedDict

from popek.storage.errors import BadDisk
from popek.storage.file import File
from popek.storage.qcow2_layout import ZLIB, Header

KEPT = 4  # decompressed clusters in memory
MAX_WINDOW = 8 << 20  # of zstd


class Decompressor:
    """Reads compressed clusters of one image."""

    def __init__(self, file: File, header: Header) -> None:
        self.file = file
        self.cluster_size = header.cluster
        self.zlib = header.compression == ZLIB
        self.offset_bits = 62 - (header.cluster_bits - 8)
        self.kept: OrderedDict[int, bytes] = OrderedDict()

    def place(self, entry: int) -> tuple[int, int]:
        """Offset in the file and size of the compressed bytes, to the end of their last sector."""
        host = entry & (1 << self.offset_bits) - 1
        sectors = ((entry & (1 << 62) - 1) >> self.offset_bits) + 1
        return host, sectors * 512 - host % 512

    def cluster(self, entry: int) -> bytes:
        """The bytes of the cluster whose table entry this is."""
        data = self.kept.get(entry)
        if data is None:
            host, size = self.place(entry)
            if host >= self.file.size:
                raise self._damaged(host)
            data = self._unpack(self.file.read(host, size), host)
            self.kept[entry] = data
            if len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        return data

    def _unpack(self, raw: bytes, host: int) -> bytes:
        try:
            data = self._inflate(raw) if self.zlib else self._zstd(raw)
        except Exception as error:  # each library has its own
            raise self._damaged(host) from error
        if len(data) != self.cluster_size:
            raise self._damaged(host)
        return data

    def _inflate(self, raw: bytes) -> bytes:
        import zlib

        return zlib.decompressobj(-15).decompress(raw, self.cluster_size)

    def _zstd(self, raw: bytes) -> bytes:
        import zstandard

        return bytes(zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(raw).read(self.cluster_size))

    def _damaged(self, host: int) -> BadDisk:
        return BadDisk(f"disk {self.file.path}: damaged: the compressed cluster at {host:#x}")
