"""What `--stats` says of a run: on every engine it adds up, and says nothing that was not measured."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from popek.api.statistics import WITHIN, Measure, summary
from popek.base import private
from tests.vmm import guests

PAGES = 64
#: A supervisor that turns Sv39 on, touches PAGES pages, asks the monitor for a timer and sleeps until it is due, and
#: runs a hot loop until somebody types a byte.
GUEST = """
    li s1, 0x81000000           # root table: two gigapages, devices and RAM
    addi t0, x0, 0xc7           # D A W R V
    sd t0, 0(s1)
    li t0, 0x200000cf           # page number << 10; X as well
    sd t0, 16(s1)
    srli t0, s1, 12
    addi t1, x0, 8
    slli t1, t1, 60
    or t0, t0, t1
    csrrw x0, satp, t0
    sfence.vma
    li t0, 0x82000000
    addi t1, x0, {pages}
    lui t3, 1
touch:
    ld t2, 0(t0)
    add t0, t0, t3
    addi t1, t1, -1
    bne t1, x0, touch
    csrrs a0, time, x0
    sbi 0x54494D45, 0
    addi t0, x0, 32
    csrrs x0, sie, t0           # timer; not taken, but it ends the sleep
    wfi
    li s0, 0x10000000
again:
    li a1, {rounds}
loop:
    addi a1, a1, -1
    bne a1, x0, loop
    lbu t0, 5(s0)
    andi t0, t0, 1
    beq t0, x0, again
    j off
"""
ROUNDS = {"reference": 300, "step": 100_000}
ENGINES = ["auto", "optimizing", "template", "step", "reference"]


def measured(
    folder: Path, engine: str, until: str = "", rounds: int = 0, longer: float = 0.3, **how: Any
) -> dict[str, Any]:
    """Run GUEST until a counter is no longer zero, and a little longer."""
    text = GUEST.format(pages=PAGES, rounds=rounds or ROUNDS.get(engine, 1_000_000))
    measure = Measure()
    with guests.machine(folder, text, supervisor=True, engine=engine, **how) as machine:
        measure.start(machine)
        machine.start()
        end = time.monotonic() + 60
        while until and not machine.counters()[until]:
            assert time.monotonic() < end, f"no {until} in a minute: {machine.counters()}"
            time.sleep(0.01)
        time.sleep(longer if until else 0.05)
        machine.serial_input(b"q")
        assert machine.wait(120) is not None
        return measure.summary(machine)


def adds_up(made: dict[str, Any]) -> None:
    """Every instruction was retired by somebody, every stop has a cause, no time exceeds what it is part of."""
    parts = made["engines"].values()
    assert all(part["instructions"] >= 0 for part in parts)
    assert sum(part["instructions"] for part in parts) == made["instructions"]
    assert sum(hart["instructions"] for hart in made["harts"]) == made["instructions"]
    assert made["stops"]["ecall_supervisor"] == made["stops"]["sbi_call"] == 1
    assert made["engines"]["monitor"]["instructions"] == made["stops"]["simulated_instruction"] == 1  # wfi
    assert made["stops"]["wait_for_interrupt"] == made["stops"]["illegal_instruction"] == 1
    within = sum(count for cause, count in made["stops"].items() if cause in WITHIN)
    assert made["stopped"] == sum(made["stops"].values()) - within
    seconds = made["seconds"]
    assert 0 < seconds["harts"] <= seconds["user"] + seconds["system"] + 0.05  # whose clocks tick every 10 ms
    inside = sum(part.get("seconds", 0.0) for part in parts)
    translating = seconds.get("translating", 0.0) + seconds.get("installing", 0.0)
    assert inside + translating == pytest.approx(seconds["harts"], abs=1e-4)
    assert seconds["wall"] > 0 and seconds["starting"] > 0
    assert not any(name.endswith("seconds") for name in made.get("counters", {}))


@pytest.mark.parametrize("engine", ENGINES)
def test_it_adds_up(tmp_path: Path, engine: str) -> None:
    made = measured(tmp_path, engine, "regions_installed" if engine in ("auto", "optimizing") else "")
    adds_up(made)
    parts = made["engines"]
    if engine in ("step", "reference"):
        assert set(parts) == {engine, "monitor"} and made["engine"] == engine
        assert "counters" not in made and set(made["seconds"]) == {"wall", "user", "system", "starting", "harts"}
        return
    counters = made["counters"]
    assert counters["tlb_misses"] >= PAGES and counters["code_bytes"] > 0
    assert counters["translated_instructions"] >= 20 and made["seconds"]["translating"] > 0
    assert 0 < parts["long_way"]["instructions"] <= counters["slow_steps"]
    assert set(made["cache"]["builds"]) == {"native", "templates"}
    if engine == "template":
        assert set(parts) == {"templates", "long_way", "monitor"} and not made["cache"]["regions"]
        assert parts["templates"]["instructions"] > 2_000_000
        return
    assert made["engine"] == "optimizing"
    assert counters["regions_installed"] >= 1 and made["seconds"]["installing"] > 0
    assert parts["regions"]["instructions"] > 2_000_000 and parts["regions"]["seconds"] > 0


def test_sources_of_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run compiles; the second finds everything in the cache, and starts no compiler."""
    code = Path(private.path("popek", "code"))
    if code.exists():  # the machine's own code need not be made anew
        shutil.copytree(code, tmp_path / "popek" / "code")
    for folder in ("popek", "popek/code"):
        (tmp_path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = (measured(tmp_path, "optimizing", "regions_installed", longer=longer) for longer in (1.0, 0.0))
    assert first["counters"]["regions_compiled"] >= 1 and first["counters"]["compiler_starts"] == 1
    assert first["counters"]["instructions_compiled"] >= 2 and first["seconds"]["compiling"] > 0
    assert first["counters"]["places_found_in_cache"] == 0
    regions = first["cache"]["regions"]
    assert regions["misses"] >= 1 and regions["added"] >= first["counters"]["regions_compiled"]
    assert regions["segments"] == 1 and regions["bytes"] > 0
    assert second["counters"]["places_found_in_cache"] >= 1 and second["cache"]["regions"]["hits"] >= 1
    assert second["counters"]["regions_compiled"] == second["counters"]["compiler_starts"] == 0
    assert second["seconds"]["compiling"] == 0 and second["cache"]["builds"] == {"native": True, "templates": True}
    assert second["cache"]["regions"]["bytes"] >= regions["bytes"]


@pytest.mark.parametrize(("engine", "check"), [("optimizing", "step"), ("template", "step"), ("template", "reference")])
def test_of_a_machine_that_is_checked(tmp_path: Path, engine: str, check: str) -> None:
    """They are the first engine's."""
    until = "regions_installed" if engine == "optimizing" else ""
    rounds = ROUNDS["reference"] if check == "reference" else 100_000
    made = measured(tmp_path, engine, until, rounds, check=check)
    adds_up(made)
    assert made["engine"] == engine and made["checked"] == check
    assert made["counters"]["tlb_misses"] >= PAGES and made["engines"]["templates"]["instructions"] > 0
    if engine == "optimizing":
        assert made["engines"]["regions"]["instructions"] > 0


def test_harts_are_summed(tmp_path: Path) -> None:
    """Hart 1 of a machine-mode guest runs to the end of its loop; hart 0 then ends it."""
    text = """
        csrrs s0, mhartid, x0
        li s1, 0x80100000
        li a0, 200000
    loop:
        addi a0, a0, -1
        bne a0, x0, loop
        bne s0, x0, other
    wait:
        ld t0, 0(s1)
        beq t0, x0, wait
        j off
    other:
        addi t0, x0, 1
        sd t0, 0(s1)
    sleep:
        wfi
        j sleep
    """
    measure = Measure()
    with guests.machine(tmp_path, text, engine="template", harts=2) as machine:
        measure.start(machine)
        machine.run()
        made = measure.summary(machine)
    assert [hart["instructions"] > 400_000 for hart in made["harts"]] == [True, True]
    assert sum(part["instructions"] for part in made["engines"].values()) == made["instructions"]


def test_a_stop_counts_once() -> None:
    def of(stops: dict[str, int]) -> dict[str, Any]:
        hart = {"instructions": 100, "stops": stops}
        return summary({"engine": "step", "checked": "", "seconds": 0.5, "harts": [hart]}, {}, {}, {"wall": 1.0})

    made = of({"ecall_supervisor": 4, "sbi_call": 3, "device": 2, "host_device": 1, "wait_for_interrupt": 1})
    assert made["undisturbed"] == pytest.approx(0.94) and made["stopped"] == 6
    assert list(made["stops"])[:3] == ["ecall_supervisor", "sbi_call", "device"]
    assert made["instructions"] == 100 and made["mips"] == pytest.approx(0.0001)
    assert of({"ecall_machine": 1, "wait_for_interrupt": 2})["stopped"] == 3  # a guest with firmware of its own


def test_time_that_no_sample_tells_is_left_out() -> None:
    """Regions ran, but nobody has looked where the harts are: nothing is said of times rather than something wrong."""
    statistics = {"engine": "optimizing", "checked": "", "seconds": 0.5, "harts": [{"instructions": 100, "stops": {}}]}
    counters = {"region_instructions": 50, "long_way_instructions": 1, "milliseconds": 0, "milliseconds_in_regions": 0}
    counters |= {"translating_seconds": 0.1, "installing_seconds": 0.1}
    made = summary(statistics, counters, {}, {"wall": 1.0})
    assert made["engines"] == {
        "regions": {"instructions": 50}, "templates": {"instructions": 49}, "long_way": {"instructions": 1},
        "monitor": {"instructions": 0},
    }  # fmt: skip
