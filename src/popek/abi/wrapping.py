"""What a kernel image can be wrapped in: gzip, zstd, xz, and Linux's EFI zboot. Unwrapping is bounded by a limit.

Not here: what the unwrapped image is (abi/image).
"""

from __future__ import annotations

import struct
from types import ModuleType

from popek.base.errors import BadImage

GZIP, ZSTD, XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"
_ZBOOT = struct.Struct("<4s4sII8x32s")  # Linux drivers/firmware/efi/libstub/zboot-header.S


def unwrap(data: memoryview, limit: int, name: str) -> memoryview:
    """The image itself. Raises BadImage when it is damaged or has more than `limit` bytes."""
    for _ in range(4):  # a zboot image holds a compressed one
        inner = _unwrap_once(data, limit, name)
        if inner is None:
            return data
        data = inner
    raise BadImage(f"{name}: compressed more often than makes sense")


def _unwrap_once(data: memoryview, limit: int, name: str) -> memoryview | None:
    head = bytes(data[:8])
    if head[:2] == b"MZ" and head[4:] == b"zimg":
        return _zboot_payload(data, name)
    if head[:2] == GZIP:
        import zlib

        decompress = zlib.decompressobj(31).decompress
        error: type[Exception] = zlib.error
    elif head[:4] == ZSTD:
        import zstandard

        return _checked(_unzstd(zstandard, data, limit, name), limit, name)
    elif head[:6] == XZ:
        import lzma

        decompress = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 30).decompress
        error = lzma.LZMAError
    else:
        return None
    try:
        plain = decompress(data, limit + 1)
    except error as e:
        raise BadImage(f"{name}: damaged compressed data ({e})") from e
    if not decompress.__self__.eof and len(plain) <= limit:  # type: ignore[attr-defined]
        raise BadImage(f"{name}: truncated compressed data")
    return _checked(plain, limit, name)


def _unzstd(zstandard: ModuleType, data: memoryview, limit: int, name: str) -> bytes:
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 30).stream_reader(data) as reader:
            plain = bytearray()
            while len(plain) <= limit and (chunk := reader.read(1 << 20)):
                plain += chunk
    except zstandard.ZstdError as e:
        raise BadImage(f"{name}: damaged compressed data ({e})") from e
    declared = zstandard.frame_content_size(data)
    if len(plain) <= limit and (declared < 0 or len(plain) < declared):
        checker = zstandard.ZstdDecompressor(max_window_size=1 << 30).decompressobj()
        checker.decompress(data)
        if not checker.eof:
            raise BadImage(f"{name}: truncated compressed data")
    return bytes(plain)


def _checked(plain: bytes, limit: int, name: str) -> memoryview:
    if len(plain) > limit:
        raise BadImage(f"{name}: unpacks to more than {limit >> 20} MiB", "give the machine more --memory")
    return memoryview(plain)


def _zboot_payload(data: memoryview, name: str) -> memoryview:
    if len(data) < _ZBOOT.size:
        raise BadImage(f"{name}: a truncated EFI zboot image")
    _, _, offset, size, kind = _ZBOOT.unpack_from(data)
    kind = kind.split(b"\0")[0].decode("ascii", "replace")
    if offset + size > len(data):
        raise BadImage(f"{name}: a truncated EFI zboot image: the payload ends at byte {offset + size}")
    payload = data[offset : offset + size]
    if bytes(payload[:2]) != GZIP and bytes(payload[:4]) != ZSTD and bytes(payload[:6]) != XZ:
        raise BadImage(f"{name}: an EFI zboot image compressed with {kind or 'nothing known'}")
    return payload
