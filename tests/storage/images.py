"""Disk images for tests, and a model of what they should hold. No assertions about formats here."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from popek.storage.block import Store

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")


def qemu_img(*arguments: object) -> str:
    done = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def read(disk: Store, offset: int = 0, length: int = -1) -> bytes:
    data = bytearray(disk.size if length < 0 else length)
    disk.read_into(offset, [memoryview(data)])
    return bytes(data)


def write(disk: Store, offset: int, data: bytes, *cuts: int) -> None:
    places = [0, *sorted(cuts), len(data)]
    disk.write_from(offset, [memoryview(data)[a:b] for a, b in zip(places, places[1:], strict=False)])


def exercise(disk: Store, model: bytearray, rng: random.Random, steps: int, discards: bool = True) -> None:
    """Random requests; what is read must be what the model holds."""
    size = len(model)
    for _ in range(steps):
        offset = rng.randrange(size // 512) * 512
        n = min(size - offset, rng.choice((512, 4096, rng.randrange(1, 300) * 512)))
        kind = rng.random()
        if kind < 0.5:
            data = rng.randbytes(n)
            write(disk, offset, data, rng.randrange(n + 1))
            model[offset : offset + n] = data
        elif kind < 0.65:
            disk.write_zeroes(offset, n, rng.random() < 0.5)
            model[offset : offset + n] = bytes(n)
        elif kind < 0.75 and discards:
            n = min(4 * n, size - offset)
            disk.discard(offset, n)
            model[offset : offset + n] = read(disk, offset, n)  # whatever it is now, it stays
        elif kind < 0.8:
            disk.flush()
        else:
            assert read(disk, offset, n) == model[offset : offset + n]
    assert read(disk) == model


def check(path: Path, model: bytes | bytearray, tmp_path: Path) -> None:
    """The image is sound and holds the model, says qemu-img."""
    qemu_img("check", path)
    raw = tmp_path / "model.raw"
    raw.write_bytes(model)
    qemu_img("compare", "-F", "raw", path, raw)
