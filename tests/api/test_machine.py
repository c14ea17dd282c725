"""The machine itself: starting, stopping, output and input, devices, failures. Guests are a few instructions long."""

import os
import threading
import time

import pytest

from popek.api.machine import Machine
from popek.api.spec import Spec
from popek.base.errors import BadInput
from tests import elves
from tests.vmm.guests import ECHO, HSM, machine, run

ENGINES = ("template", "optimizing", "step", "reference")
SPIN = "loop:\nj loop\n"
SLEEP = "loop:\nwfi\nj loop\n"
TRAP_LOOP = "jalr x0, 0(x0)\n"  # to where nothing is, and so does the trap vector
DEVICE_LOOP = "li s0, 0x10001000\nloop:\nlw t0, 0(s0)\nj loop\n"  # a device model in Python, or a fault
FLOOD_LOOP = "li s0, 0x10000000\nloop:\nsb s0, 0(s0)\nj loop\n"


def flood(count: int) -> str:
    """A guest that sends `count` bytes without ever asking whether there is room."""
    return f"""
        li s0, {count}
        li s1, 0x10000000
        addi s2, x0, 0
    more:
        andi t0, s2, 63
        addi t0, t0, 32
        sb t0, 0(s1)
        addi s2, s2, 1
        bne s2, s0, more
        j off
    """


def flooded(count: int) -> bytes:
    return bytes(32 + (i & 63) for i in range(count))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "program",
    [SPIN, SLEEP, TRAP_LOOP, DEVICE_LOOP, FLOOD_LOOP],
    ids=["spinning", "asleep", "trapping", "at a device", "printing"],
)
@pytest.mark.parametrize("harts", [1, 3])
def test_stop_within_a_second(tmp_path, engine, program, harts):
    with machine(tmp_path, program, engine=engine, harts=harts) as made:
        made.start()
        assert made.wait(0.2) is None
        began = time.monotonic()
        made.stop()
        assert made.wait(5) == ("stopped", 0)
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("supervisor", [False, True])
def test_stop_before_the_first_instruction_and_twice(tmp_path, supervisor):
    with machine(tmp_path, SPIN, supervisor=supervisor, harts=2) as made:
        made.stop()
        made.start()
        made.stop()
        assert made.wait(5) == ("stopped", 0)


def test_close_without_start_and_while_running(tmp_path):
    with machine(tmp_path, SPIN):
        pass
    with machine(tmp_path, SPIN, harts=2) as made:
        made.start()
    made.close()


def test_the_first_end_counts(tmp_path):
    with machine(tmp_path, "j off\n") as made:
        made.start()
        assert made.wait(10) == ("off", 0)
        made.stop()
        assert made.wait() == ("off", 0)


def test_done_becomes_readable(tmp_path):
    import select

    with machine(tmp_path, "j off\n") as made:
        poll = select.poll()
        poll.register(made.done, select.POLLIN)
        assert not poll.poll(0)
        made.start()
        assert poll.poll(10_000)
        assert made.wait(0) == ("off", 0)


@pytest.mark.parametrize(("engine", "count"), [("template", 300_000), ("step", 100_000), ("reference", 3000)])
def test_no_output_is_lost_at_power_off(tmp_path, engine, count):
    _, said, _ = run(tmp_path, flood(count), engine=engine)
    assert said == flooded(count)


def test_no_output_is_lost_with_a_slow_reader(tmp_path):
    said = bytearray()

    def slow(data: bytes) -> None:
        time.sleep(0.01)
        said.extend(data)

    with machine(tmp_path, flood(200_000), output=slow) as made:
        made.start()
        assert made.wait(60) == ("off", 0)
    assert bytes(said) == flooded(200_000)


def test_waiting_for_a_stalled_reader_costs_nothing(tmp_path):
    go_on = threading.Event()
    said = bytearray()

    def stalled(data: bytes) -> None:
        go_on.wait()
        said.extend(data)

    with machine(tmp_path, flood(200_000), output=stalled) as made:
        made.start()
        time.sleep(0.3)  # the ring is full by now
        before = time.process_time()
        assert made.wait(0.7) is None
        assert time.process_time() - before < 0.2
        go_on.set()
        assert made.wait(60) == ("off", 0)
    assert bytes(said) == flooded(200_000)


@pytest.mark.parametrize("harts", [1, 3])
def test_a_machine_that_waits_for_a_stalled_reader_stops(tmp_path, harts):
    go_on = threading.Event()
    with machine(tmp_path, FLOOD_LOOP, harts=harts, output=lambda data: go_on.wait()) as made:
        made.start()
        time.sleep(0.3)
        made.stop()
        for thread in made._threads[:harts]:
            thread.join(1)
            assert not thread.is_alive()
        go_on.set()
        assert made.wait(5) == ("stopped", 0)


def test_output_goes_to_a_descriptor(tmp_path):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    found = bytearray()

    def drain() -> None:
        while data := os.read(reading, 1000):
            found.extend(data)

    thread = threading.Thread(target=drain)
    thread.start()
    with machine(tmp_path, flood(150_000), output=writing) as made:
        made.start()
        assert made.wait(60) == ("off", 0)
    os.close(writing)
    thread.join()
    os.close(reading)
    assert bytes(found) == flooded(150_000)


def test_output_costs_one_host_call_a_burst(tmp_path):
    calls = []
    with machine(tmp_path, flood(50_000), output=calls.append) as made:
        made.start()
        made.wait(60)
    assert b"".join(calls) == flooded(50_000)
    assert len(calls) < 500


def test_a_broken_pipe_ends_the_machine(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with machine(tmp_path, flood(1000) + SPIN.replace("loop", "endless"), output=writing) as made:
        made.start()
        with pytest.raises(BrokenPipeError):
            made.wait(20)
    os.close(writing)


@pytest.mark.parametrize("engine", ENGINES)
def test_input_is_echoed(tmp_path, engine):
    said = bytearray()
    text = bytes(range(32, 127)) * 2
    with machine(tmp_path, ECHO, engine=engine, output=said.extend) as made:
        made.start()
        made.serial_input(text)
        made.serial_input(b"\x04")
        assert made.wait(60) == ("off", 0)
    assert bytes(said) == text


def test_more_input_than_the_ring_holds(tmp_path):
    said = bytearray()
    text = bytes(5 + i % 250 for i in range(60_000))
    with machine(tmp_path, ECHO, output=said.extend) as made:
        made.serial_input(text)  # before the start
        made.serial_input(b"\x04")
        assert made.serial_backlog() > 0
        made.start()
        assert made.wait(60) == ("off", 0)
    assert bytes(said) == text


@pytest.mark.parametrize("code", [0, 1, 7, 0xFFFF])
def test_failure_codes(tmp_path, code):
    text = f"li t0, 0x100000\nli t1, {code << 16 | 0x3333:#x}\nsw t1, 0(t0)\nloop:\nj loop\n"
    assert run(tmp_path, text)[0] == ("fail", code)


def test_a_device_model_that_raises_is_an_access_fault(tmp_path, capsys):
    text = """
        la t0, handler
        csrrw x0, mtvec, t0
        li s0, 0x10008000
        lw t0, 0(s0)
        j loop
    handler:
        csrrs a0, mcause, x0
        jal ra, hex
        j off
    loop:
        j loop
    """

    class Broken:
        base, size = 0x1000_8000, 0x1000

        def read(self, offset: int, size: int) -> int:
            raise ZeroDivisionError

        def write(self, offset: int, size: int, value: int) -> None:
            raise ZeroDivisionError

    said = bytearray()
    with machine(tmp_path, text, output=said.extend) as made:
        made.bus.add(Broken())
        made.start()
        assert made.wait(20) == ("off", 0)
    assert bytes(said) == b"0000000000000005\n"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_unused_memory_is_not_touched(tmp_path):
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    path = tmp_path / "guest.elf"
    path.write_bytes(elves.elf(elves.finish(0x5555)))
    with Machine(Spec(kernel=str(path), memory=64 << 20, rng=False)) as made:
        made.run()
    before = resident()
    with Machine(Spec(kernel=str(path), memory=16 << 30, rng=False)) as made:
        assert made.run() == ("off", 0)
        assert resident() - before < 64 << 20


def test_machines_leave_nothing_behind(tmp_path):
    def once() -> None:
        text = f"addi a0, x0, 1\nla a1, loop\nsbi {HSM:#x}, 0\nj off\n{SPIN}"
        with machine(tmp_path, text, supervisor=True, harts=2) as made:
            made.start()
            assert made.wait(10) is not None

    once()
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        once()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files


def test_unknown_engine(tmp_path):
    path = tmp_path / "guest.elf"
    path.write_bytes(elves.elf(elves.finish(0x5555)))
    with pytest.raises(BadInput, match="no engine"):
        Machine(Spec(kernel=str(path), engine="warp"))
