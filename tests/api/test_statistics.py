"""What `--stats` says of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from popek.api.statistics import Clock, summary
from tests.vmm import guests

COUNTERS = {"slow_steps", "resolved_jumps", "translated_instructions", "code_bytes", "tlb_misses", "cell_misses"}


def test_a_stop_counts_once() -> None:
    stops = {"ecall_supervisor": 4, "sbi_call": 3, "device": 2, "host_device": 1}
    made = summary({"engine": "step", "harts": [{"instructions": 100, "stops": stops}]}, {}, Clock.now())
    assert made["undisturbed"] == pytest.approx(0.94)
    assert list(made["stops"]) == ["ecall_supervisor", "sbi_call", "device", "host_device"]
    assert made["instructions"] == 100 and made["seconds"]["wall"] >= 0


LOOP = """
    li a0, 0
    li a1, 30000000
loop:
    addi a0, a0, 1
    blt a0, a1, loop
    li t0, 0x100000
    li t1, 0x5555
    sw t1, 0(t0)
"""


@pytest.mark.parametrize("engine", ["template", "optimizing", "step"])
def test_fields(tmp_path: Path, engine: str) -> None:
    began = Clock.now()
    with guests.machine(tmp_path, LOOP, engine=engine) as machine:
        machine.run()
        made = summary(machine.stats(), machine.counters(), began)
    assert made["instructions"] > 60_000_000 and made["mips"] > 1
    assert made["seconds"]["user"] > 0
    counters = made["counters"]
    if engine == "step":
        assert counters == {}
        return
    assert COUNTERS <= set(counters) and counters["translated_instructions"] >= 6
    if engine == "optimizing":
        assert {"in_regions", "in_template_code", "compiling"} <= set(made["seconds"])
        assert {"regions_installed", "regions_compiled", "places_found_in_cache"} <= set(counters)
