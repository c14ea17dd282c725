"""`popek profile`: the function that took the time is on top, and the picture is XML."""

from __future__ import annotations

import json
import xml.dom.minidom

from popek.api.profile import Symbols, flame, table
from popek.faces import cli
from tests import elves
from tests.vmm import guests

LOOP = """
    li a0, 0
    li a1, 200000000
hot:
    addi a0, a0, 1
    blt a0, a1, hot
    li t0, 0x100000
    li t1, 0x5555
    sw t1, 0(t0)
end:
    j end
"""


def test_the_hot_function_is_on_top(tmp_path, capfd):
    guest, names, picture = tmp_path / "guest.elf", tmp_path / "System.map", tmp_path / "f.svg"
    guest.write_bytes(elves.elf(guests.assemble(LOOP, guests.RAM), guests.RAM))
    hot = guests.RAM + 4 * sum(len(guests.expand(line)) for line in ("li a0, 0", "li a1, 1"))
    names.write_text(f"{guests.RAM:x} T start\n{hot:x} T hot<loop>\n{hot + 8:x} T rest\n")
    options = ["--out", str(picture), "--symbols", str(names), "--json", str(guest)]
    assert cli.main(["profile", *options]) == 0
    made = json.loads(capfd.readouterr().out)
    assert made["functions"][0]["name"] == "hot<loop>" and made["functions"][0]["where"] == "machine"
    assert made["functions"][0]["own"] > 0.8 * made["samples"] > 8
    titles = [t.firstChild.data for t in xml.dom.minidom.parse(str(picture)).getElementsByTagName("title")]
    assert any(title.startswith("hot<loop>: ") for title in titles)


def test_symbols_that_are_none(tmp_path, capfd):
    (tmp_path / "none").write_text("nothing here\n")
    assert cli.main(["profile", "--symbols", str(tmp_path / "none"), "x.elf"]) == 125
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "no symbols" in said


def test_a_stack_counts_once_in_a_total():
    made = {("kernel", "a", "b", "a"): 3, ("kernel", "a"): 1}
    rows = {row.name: row for row in table(made)}
    assert (rows["a"].own, rows["a"].total, rows["b"].total) == (4, 4, 3)
    assert "a: 4 samples" in flame(made, "t & t")


def test_an_address_far_from_every_symbol_keeps_its_number():
    assert Symbols().name(0x1234) == "0x1234"
