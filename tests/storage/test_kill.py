"""kill -9 at random moments of writing and growing: nothing that was flushed is lost, and the image stays sound.

POPEK_KILLS sets how often (the release run kills 10,000 times).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from popek.storage.block import open_disk
from popek.storage.qcow2_create import create
from tests.storage.images import needs_qemu_img, read

KILLS = int(os.environ.get("POPEK_KILLS", "8"))
SIZE = 2 << 20

WRITER = """
import random, sys
from popek.storage.block import open_disk
from tests.storage.test_kill import steps
disk = open_disk(sys.argv[1])
for number, (kind, at, data) in enumerate(steps(int(sys.argv[2]))):
    if kind == "write":
        disk.write_from(at, [memoryview(data)])
    elif kind == "zero":
        disk.write_zeroes(at, len(data), True)
    else:
        disk.flush()
        print(number, flush=True)
"""


def steps(seed: int):
    """The same for the writer and the judge: what is written, zeroed, flushed."""
    rng = random.Random(seed)
    while True:
        at = rng.randrange(SIZE // 512) * 512
        data = rng.randbytes(min(rng.choice((1, 8, 60)) * 512, SIZE - at))
        kind = rng.random()
        if kind < 0.7:
            yield "write", at, data
        elif kind < 0.85:
            yield "zero", at, bytes(len(data))
        else:
            yield "flush", 0, b""


@needs_qemu_img
@pytest.mark.parametrize("bits", [9, 16])
def test_killed_while_writing(tmp_path, bits) -> None:
    rng = random.Random(bits)
    for kill in range(KILLS // 2):
        path = tmp_path / f"{kill}.qcow2"
        create(str(path), SIZE, cluster_bits=bits)
        command = [sys.executable, "-c", WRITER, str(path), str(kill)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(rng.random() * 0.15)
        writer.send_signal(signal.SIGKILL)
        output, errors = writer.communicate()
        assert not errors, errors
        flushed = int((first + output).split()[-1])
        done = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True)
        assert done.returncode in (0, 3), (done.stdout, done.stderr)  # 3: leaked clusters
        judge(path, kill, flushed)


def judge(path, seed: int, flushed: int) -> None:
    """Every sector is as it was at the last flush, or as something after it made it."""
    allowed: list[set[bytes]] = [{bytes(512)} for _ in range(SIZE // 512)]
    for number, (_, at, data) in enumerate(steps(seed)):
        if number > flushed + 3000:
            break
        for n in range(0, len(data), 512):
            sector, piece = (at + n) // 512, data[n : n + 512]
            if number <= flushed:
                allowed[sector] = {piece}
            else:
                allowed[sector].add(piece)
    disk = open_disk(str(path))
    found = read(disk)
    disk.close()
    for sector, choices in enumerate(allowed):
        assert found[512 * sector : 512 * sector + 512] in choices, sector
