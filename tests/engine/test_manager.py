"""The optimizing engine as a whole: sampled, described, compiled by the worker, installed; and when that fails."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from popek.base.memory import Block
from popek.engine.optimizing import client, manager, places, worker
from popek.engine.optimizing.client import Client, WorkerDied
from popek.engine.optimizing.image import unpack
from popek.engine.optimizing.manager import Manager
from popek.engine.optimizing.places import Policy
from popek.isa import table
from tests.engine.native import RAM, NativeMachine
from tests.engine.small import finish

ROUNDS = 30_000_000  # about 0.05 s of templates
TEXT = finish(f"""addi a0, zero, 0
    lui a4, {ROUNDS >> 12:#x}
    addi a3, zero, 5
    loop:
    add a0, a0, a3
    xori a3, a3, 1
    addi a4, a4, -1
    bne a4, zero, loop""")
EXPECTED = (ROUNDS >> 12 << 12) // 2 * 9


class Memory:
    """A code cache without a disk."""

    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.asked = 0

    def find(self, offset: int, head: bytes) -> list[bytes]:
        self.asked += 1
        return [i for i in self.images if unpack(i).entry == offset]

    def add(self, image: bytes) -> None:
        try:
            unpack(image)
        except ValueError:
            return
        self.images.append(image)

    def close(self) -> None:
        pass


class Managed:
    """A machine with a manager on a thread."""

    def __init__(self, cache: Any = None, policy: Policy | None = None, harts: int = 1) -> None:
        self.machine = NativeMachine(harts=harts)
        self.warnings: list[str] = []
        m = self.machine
        self.manager = Manager(
            m.library, m.engine.library.address, harts, cache, policy or Policy.eager(), self.warnings.append
        )
        self.thread = threading.Thread(target=self.manager.run, daemon=True)
        self.thread.start()

    def run(self, until: str = "", times: int = 40) -> dict[str, Any]:
        """Run TEXT again and again, until a counter is no longer zero."""
        m = self.machine
        m.program(TEXT)
        for _ in range(times):
            m.hart.pc = RAM
            assert m.run(seconds=60)
            assert m.desk.finished - 1 == EXPECTED
            if until and self.manager.statistics()[until]:
                break
        return self.end()

    def end(self) -> dict[str, Any]:
        self.manager.end()
        self.thread.join(20)
        assert not self.thread.is_alive()
        counted = self.manager.statistics()
        self.manager.free()
        return counted


def test_hot_loop() -> None:
    cache = Memory()
    counted = Managed(cache).run("milliseconds_in_regions")
    assert counted["regions_compiled"] >= 1 and counted["regions_installed"] >= 1
    assert counted["milliseconds_in_regions"] > 0
    assert counted["instructions_compiled"] >= 4 and counted["compiling_seconds"] > 0
    assert cache.images and cache.asked
    again = Managed(cache)
    counted = again.run("milliseconds_in_regions")
    assert counted["places_found_in_cache"] >= 1 and counted["milliseconds_in_regions"] > 0
    assert not again.warnings


def test_what_is_not_worth_it_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "while n := int.from_bytes(os.read(0, 4), 'little'):\n  while n: n -= len(os.read(0, n))\n"
    text += "  os.write(1, b'\\x08\\0\\0\\0' + bytes(8))"
    monkeypatch.setattr(sys, "executable", script(tmp_path / "worker", text))
    cache = Memory()
    first = Managed(cache)
    first.run(times=3)
    assert cache.images and all(places.is_hopeless(i) for i in cache.images) and first.manager.client.starts == 1
    known = len(cache.images)
    again = Managed(cache)
    again.run(times=3)
    assert len(cache.images) == known or again.manager.client.starts == 1
    for image in cache.images:
        at, code = unpack(image).entry, places.hopeless_code(image)
        assert code == bytes(again.machine.memory[at : at + len(code)])
    assert not first.warnings and not again.warnings


@pytest.mark.parametrize(
    ("text", "to"),
    [
        (["jal ra, 0x80000100"], 0x8000_0100),
        (["jal ra, 0x7ff80000"], 0x7FF8_0000),
        (["auipc ra, 0x12", "jalr ra, -116(ra)"], 0x8000_0000 + 0x1_2000 - 116),
        (["auipc t1, 0xfffff", "jalr ra, 16(t1)"], 0x7FFF_F010),
        (["auipc t1, 0x1", "jalr ra, 16(t2)"], 0),
        (["auipc ra, 0x12", "jalr zero, 0(ra)"], 0),
        (["addi a0, zero, 1", "jalr ra, 0(a0)"], 0),
        (["jal zero, 0x80000100"], 0),
        (["addi a0, a0, 1"], 0),
    ],
)
def test_callee(text: list[str], to: int) -> None:
    code = b"".join(table.assemble(line, RAM + 4 * i).to_bytes(4, "little") for i, line in enumerate(text))
    assert places.callee(code, RAM + len(code)) == to
    assert places.callee(code[-2:], RAM + len(code)) == 0


def test_function_without_a_loop() -> None:
    """It is not found itself, only where it returns to: a place not worth a region, while the function is."""
    body = "\n".join(f"xori a0, a0, {i}\n add a0, a0, a1" for i in range(100))
    cache = Memory()
    for _ in range(2):
        managed = Managed(cache)
        m = managed.machine
        m.program(f"{body}\n jalr zero, 0(ra)", RAM + 0x4000)
        m.program(finish(f"""addi a1, zero, 7
            lui a4, 0x40
            loop:
            jal ra, {RAM + 0x4000:#x}
            addi a4, a4, -1
            ecall
            bne a4, zero, loop"""))
        m.program("csrr t0, mepc\n addi t0, t0, 4\n csrw mepc, t0\n mret", RAM + 0x6000)
        m.hart.mtvec = RAM + 0x6000
        for _ in range(10):
            m.hart.pc = RAM
            assert m.run(seconds=60)
            if (RAM + 0x4000) in {p.pc for p in managed.manager._known}:
                break
        assert not managed.warnings
        counted = managed.end()
        assert (RAM + 0x4000) in {p.pc for p in managed.manager._known}
    assert counted["places_found_in_cache"] >= 1


def test_two_harts() -> None:
    """What one hart made hot is installed on the other as well, as soon as it is found there."""
    managed = Managed(harts=2)
    m = managed.machine
    m.program(TEXT)
    for _ in range(20):
        for h in m.harts:
            h.pc = RAM
        assert m.run_all(60)
        assert [d.finished - 1 for d in m.desks] == [EXPECTED] * 2
        counted = managed.manager.statistics()
        if counted["regions_compiled"] < counted["regions_installed"]:
            break
    counted = managed.end()
    assert all(m.cache(i).optimizing.installed for i in range(2))
    assert counted["regions_compiled"] < counted["regions_installed"]


def test_exact_count_with_regions_coming_and_going() -> None:
    """The count of retired instructions does not depend on which engine retired them."""
    plain = NativeMachine()
    plain.program(TEXT)
    plain.hart.pc = RAM
    assert plain.run(seconds=60)
    managed = Managed()
    m = managed.machine
    m.program(TEXT)
    done = 0
    for i in range(12):
        m.hart.pc = RAM
        assert m.run(seconds=60)
        done += plain.hart.instret
        assert m.hart.instret == done
        if i == 8:
            m.forget()
    managed.end()


def test_without_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of it: the guest goes on, with one warning."""
    for executable in ("/nonexistent/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", executable)
        managed = Managed()
        counted = managed.run(times=4)
        assert counted["regions_compiled"] == 0
        assert len(managed.warnings) == 1 and managed.warnings[0].startswith("the optimizing compiler ended: ")


def script(path: Path, text: str) -> str:
    """A program that plays the worker."""
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "os.read(0, 100); os.kill(os.getpid(), 9)",
        "os.read(0, 100); os.write(1, b'\\x10\\0\\0\\0half')",
        "os.read(0, 100); os.write(1, b'\\xff\\xff\\xff\\xff' * 10)",
        "os.read(0, 100); os.write(1, b'\\x10\\0\\0\\0' + bytes(8) + b'nonsense'); time.sleep(60)",
        "time.sleep(60)",
    ],
    ids=["killed", "half an answer", "a huge answer", "nonsense", "silence"],
)
def test_bad_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setattr(sys, "executable", script(tmp_path / "worker", text))
    managed = Managed(Memory())
    started = time.monotonic()
    counted = managed.run(times=4)
    assert counted["regions_installed"] == 0
    assert len(managed.warnings) <= 1
    assert time.monotonic() - started < 20


def test_killed_while_it_compiles() -> None:
    managed = Managed()
    stopped: list[int] = []

    def kill() -> None:
        while managed.thread.is_alive():
            process = managed.manager.client.process
            if process is not None:
                os.kill(process.pid, signal.SIGSTOP)  # before it can have an answer
                while not managed.manager.client.busy and managed.thread.is_alive():
                    time.sleep(0.001)
                os.kill(process.pid, signal.SIGKILL)
                stopped.append(process.pid)
                return
            time.sleep(0.001)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    managed.run(times=4)
    killer.join(5)
    assert stopped and len(managed.warnings) == 1


def test_worker_that_was_idle_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "n = int.from_bytes(os.read(0, 4), 'little'); os.read(0, n); os.write(1, b'\\x08\\0\\0\\0' + bytes(8))"
    monkeypatch.setattr(sys, "executable", script(tmp_path / "worker", text))
    one = Client()
    for count in (1, 2, 3):
        one.send(b"please")
        assert one.receive() == b""
        assert one.starts == count
        one.process.wait(10)
    assert one.receive() is None
    one.forget()


def test_worker_answers_nonsense_with_nothing() -> None:
    one = Client()
    for description in (b"", b"x" * 100, RAM.to_bytes(8, "little") + bytes(worker.DESCRIPTION.size - 8)):
        one.send(description)
        assert one.receive() == b""
    assert one.finish(1) is None


def test_end_of_a_worker_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", script(tmp_path / "worker", "time.sleep(60)"))
    one = Client()
    one.send(b"please")
    started = time.monotonic()
    assert one.finish(0.2) is None
    assert time.monotonic() - started < 3 and one.process is None
    with pytest.raises(WorkerDied):
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        one.send(b"please")


def description(m: NativeMachine, pc: int, run: Any) -> Any:
    """What the hart says of the code around pc, in its present mode; None if it cannot."""
    place, w = Block(worker.LARGEST), Block(m.library.call("popek.engine.optimizing.watching.watch_size", _u64)())

    def call(name: str, *arguments: int) -> int:
        function = m.library.call(f"popek.engine.optimizing.watching.{name}", _u64, *[_u64] * len(arguments))
        return int(function(*arguments))

    call("watch_open", w.address, m.engine.library.address, len(m.harts), 1, 1 << 30, 0)
    host = m.rams[0].address + pc - RAM
    assert call("request", w.address, 0, place.address, pc, host, m.hart.mode)
    run()
    for _ in range(100):
        call("watch", w.address, 0, 0, 1)
        data = bytes(w.view[: 8 + manager.EVENT.size * 4])
        for kind, *_, about, _count in manager.EVENT.iter_unpack(data[8:]):
            if data[0] and kind == manager.REQUEST_DONE:
                return worker.request_of(bytes(place.view)) if about == manager.DESCRIBED_WELL else None
        run()
    raise AssertionError("no answer")


_u64 = ctypes.c_uint64


def test_description() -> None:
    """The pages that the code leads through by direct jumps and calls, and which instructions of them were executed."""
    m = NativeMachine()
    m.program(finish(f"addi a0, zero, 1\n jal ra, {RAM + 0x3F00:#x}\n jal ra, {RAM + 0x5000:#x}"))
    m.program(f"addi a1, zero, 1\n beq a1, zero, {RAM + 0x4010:#x}\n jalr zero, 0(ra)", RAM + 0x3F00)
    m.program(f"jal zero, {RAM + 0x6004:#x}", RAM + 0x5000)
    m.program("addi a0, zero, 2\n addi a0, zero, 3\n jalr zero, 0(ra)", RAM + 0x6000)

    def run() -> None:
        m.hart.pc = RAM
        assert m.run()

    run()
    found = description(m, RAM, run)
    assert found.entry == RAM and found.bare
    assert {RAM + 4, RAM + 8, RAM + 0x6004} & set(found.targets) >= {RAM + 8}
    assert all(t & -4096 in found.pages for t in found.targets)
    assert set(found.pages) == {RAM, RAM + 0x3000, RAM + 0x5000, RAM + 0x6000}
    for address, page in found.pages.items():
        assert page.data == bytes(m.memory[address - RAM : address - RAM + 4096])
    assert [found.pages[RAM].has(4 * i) for i in range(3)] == [True] * 3 and not found.pages[RAM].has(2)
    assert not found.pages[RAM + 0x6000].has(0) and found.pages[RAM + 0x6000].has(4)
    word = table.assemble("addi a0, zero, 3").to_bytes(4, "little")
    assert found.pages[RAM + 0x6000].data[4:8] == word


def test_description_in_another_mode_is_refused() -> None:
    m = NativeMachine()
    m.program(finish("addi a0, zero, 1\n addi a4, zero, 100\n l:\n addi a4, a4, -1\n bne a4, zero, l"))
    m.hart.mode = 1

    def run() -> None:
        m.prepare()
        m.hart.pc = RAM
        assert m.run()

    assert description(m, RAM, run) is None


def test_no_more_than_so_many_warnings_and_processes_at_the_end() -> None:
    managed = Managed()
    managed.run(times=3)
    assert managed.manager.client.process is None
    assert client.LARGEST > 1 << 20
