"""A command in a Debian guest: `popek run` against QEMU with the same kernel, initramfs and disk.

    python benchmarks/run.py [-n 5] [--memory 512M] [--popek 'popek'] -- COMMAND...

Both start the files that `popek run` keeps (it builds them the first time) and speak with the same agent in the guest
over the same virtio console ports. Neither changes the disk. popek is timed from its start to its end, QEMU from its
start to the command's exit status. Figures: user + system CPU seconds, medians of interleaved runs. Standard output
and exit status must be the same.

    apt install qemu-system-misc
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from measure import Timed, children_cpu, report, timed

from popek.images import agent, catalog


def qemu_command(image: catalog.Image, memory: str, folder: str) -> list[str]:
    """QEMU's machine with the image's disk and the agent's ports as sockets in `folder`."""
    command = ["qemu-system-riscv64", "-M", "virt", "-nographic", "-no-reboot", "-serial", "null", "-monitor", "none"]
    command += ["-m", memory, "-kernel", image.kernel, "-initrd", image.initrd, "-append", image.append]
    command += ["-drive", f"file={image.disk},format=raw,if=none,id=root,snapshot=on"]
    command += ["-device", f"virtio-blk-device,drive=root,serial={image.serial}"]
    command += ["-device", "virtio-rng-device", "-device", "virtio-serial-device,max_ports=8"]
    for number, name in enumerate(agent.PORTS):
        kind = "virtconsole" if name == agent.TTY else "virtserialport"
        command += ["-chardev", f"socket,path={folder}/{number},server=on,wait=off,id=c{number}"]
        command += ["-device", f"{kind},chardev=c{number},name={name}"]
    return command


def connected(path: str, deadline: float) -> socket.socket:
    """The other end of a port, once QEMU listens."""
    while True:
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(path)
            return end
        except OSError:
            end.close()
            if time.monotonic() > deadline:
                raise SystemExit(f"QEMU does not listen at {path}") from None
            time.sleep(0.002)


def qemu(image: catalog.Image, memory: str, argv: list[str], timeout: float) -> Timed:
    """One run on QEMU."""
    before, began = children_cpu(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(qemu_command(image, memory, folder), stdin=subprocess.DEVNULL)
        try:
            ends = {name: connected(f"{folder}/{i}", began + 10) for i, name in enumerate(agent.PORTS)}
            control = ends[agent.CONTROL].makefile("rwb", 0)
            ends[agent.CONTROL].settimeout(timeout)
            while agent.parse(control.readline())[0] != "ready":
                pass
            control.write(agent.run(argv, False).encode())
            said = bytearray()
            ends[agent.STDOUT].setblocking(False)
            ends[agent.CONTROL].setblocking(False)
            line = b""
            while not line.endswith(b"\n") and time.monotonic() < began + timeout:
                for name in (agent.STDOUT, agent.CONTROL):
                    try:
                        data = ends[name].recv(1 << 16)
                    except BlockingIOError:
                        continue
                    if name == agent.CONTROL:
                        line += data
                    else:
                        said += data
                time.sleep(0.001)
            status = agent.exit_status(agent.parse(line)[1])
            wall = time.monotonic() - began
        finally:
            process.kill()
            process.wait()
    return Timed(children_cpu() - before, wall, status, said.decode(errors="replace"))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", "--times", type=int, default=5)
    p.add_argument("--memory", default="512M")
    p.add_argument("--timeout", type=float, default=600)
    p.add_argument("--popek", default=f"{sys.executable} -m popek")
    p.add_argument("command", nargs="+")
    a = p.parse_args()
    if not shutil.which("qemu-system-riscv64"):
        raise SystemExit("there is no qemu-system-riscv64: apt install qemu-system-misc")
    run = [*shlex.split(a.popek), "run", "--memory", a.memory, "debian", "--", *a.command]
    popek = ["sh", "-c", '"$@" 2>/dev/null', "sh", *run]
    first = timed(popek, a.timeout)  # builds the image, if need be, and warms the caches
    image = catalog.find("debian")
    if image is None:
        raise SystemExit(f"popek run has left no image: {first.output[-500:]}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    runs: dict[str, list[Timed]] = {"popek": [], "qemu": []}
    for _ in range(a.times):
        runs["popek"].append(timed(popek, a.timeout))
        runs["qemu"].append(qemu(image, a.memory, a.command, a.timeout))
        one, other = runs["popek"][-1], runs["qemu"][-1]
        if (one.status, one.output) != (other.status, other.output):
            raise SystemExit(f"popek: {one.status} {one.output[-300:]!r}\nqemu: {other.status} {other.output[-300:]!r}")
    report(runs, "qemu")


if __name__ == "__main__":
    main()
