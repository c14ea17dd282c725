"""faces/options: what is ours and what is the guest's command."""

import pytest

from popek.api.errors import BadInput
from popek.api.spec import Disk, Spec, parse_size
from popek.faces import options
from popek.faces.commands.boot import disk, specification
from popek.faces.commands.run import host_name, variables


@pytest.mark.parametrize(
    "line, command",
    [
        ("run debian", []),
        ("run debian -- uname -a", ["uname", "-a"]),
        ("run debian uname -a", ["uname", "-a"]),
        ("run --memory 1G debian ls -- -x", ["ls", "--", "-x"]),
        ("run -e A=B --cpus 2 debian --memory 1G -- --version", ["--version"]),
        ("run debian --memory 1G sh -c exit", ["sh", "-c", "exit"]),
        ("run -it debian bash", ["bash"]),
    ],
)
def test_guest_command(line, command):
    chosen = options.parse(line.split())
    assert chosen.image == "debian" and chosen.guest_command == command


@pytest.mark.parametrize("line", ["", "nope", "run", "boot --nope", "boot a -- b", "run --memory", "run -t -T debian"])
def test_mistakes_exit_125_with_one_line(line, capsys):
    with pytest.raises(SystemExit) as end:
        options.parse(line.split())
    assert end.value.code == 125
    said = capsys.readouterr().err
    assert said.startswith("popek: ") and said.count("\n") == 1


@pytest.mark.parametrize("line", ["--help", "run --help", "boot --help", "image --help", "doctor --help", "prune -h"])
def test_help(line, capsys):
    with pytest.raises(SystemExit) as end:
        options.parse(line.split())
    assert end.value.code == 0
    assert "usage: popek" in capsys.readouterr().out


def test_boot_specification():
    line = "boot K --initrd I --append x --bios B --memory 1G --smp 4 --disk a,ro --disk b,snapshot,format=raw"
    spec = specification(options.parse(line.split()))
    disks = (Disk("a", readonly=True), Disk("b", "raw", overlay=True))
    assert spec == Spec("K", "I", "x", "B", 1 << 30, 4, disks)


@pytest.mark.parametrize("text", ["a,nope", "a,format"])
def test_bad_disks(text):
    with pytest.raises(BadInput):
        disk(text)


@pytest.mark.parametrize(
    "text, size", [("512M", 512 << 20), ("2G", 2 << 30), ("64", 64 << 20), ("8192k", 8 << 20), ("1GiB", 1 << 30)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5G", "M", "0x10", "1 2"])
def test_bad_sizes(text):
    with pytest.raises(BadInput):
        parse_size(text)


@pytest.mark.parametrize(
    "spec",
    [
        Spec("k", harts=0), Spec("k", harts=9), Spec("k", harts=-1), Spec("k", memory=0), Spec("k", memory=1 << 20),
        Spec("k", memory=1 << 50), Spec("k", memory=(512 << 20) + 1), Spec(),
    ],
)  # fmt: skip
def test_impossible_machines(spec):
    with pytest.raises(BadInput):
        spec.checked()


def test_variables(monkeypatch):
    monkeypatch.setenv("HERE", "yes")
    assert variables(["A=1", "B=", "C=x=y", "HERE", "NOT_SET_ANYWHERE"]) == {
        "A": "1",
        "B": "",
        "C": "x=y",
        "HERE": "yes",
    }
    for bad in ("=x", "a-b=1", "1=2"):
        with pytest.raises(BadInput):
            variables([bad])


def test_host_names():
    assert host_name("web-1") == "web-1" and host_name("") == ""
    for bad in ("a b", "-a", "a=b", "x" * 64, "ä"):
        with pytest.raises(BadInput):
            host_name(bad)
