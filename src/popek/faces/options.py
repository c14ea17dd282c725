"""What can be written on the command line, and the help texts. What it then does is in `commands`.

argparse and not typer: `popek boot` pays for it at every start (8 ms against 56 ms of CPU).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from popek.faces.terminal import BOOT_KEYS, RUN_KEYS

OUR_ERROR = 125
_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"

ABOUT = """\
popek runs virtual machines: unmodified RISC-V Linux, on any Linux host that has Python.

  popek run debian                   a shell in Debian, built on first use
  popek run debian -- uname -a       one command, its output and its exit status
  popek boot Image --initrd i.gz     a kernel of your own, on the serial console
  popek doctor                       what works on this host, and what is missing
"""
PROFILE = """\
Samples are taken every millisecond, at the next backward branch, indirect jump or trap. Names of kernel functions come
from the kernel, those of programs from the ELF files in the initrd and on ext4 disks, more from --symbols."""
RUNNING = ("run", "profile run")  # what takes a command for the guest
STATUS = "Exit status: 125 our own error, 126/127 as in a shell, 128+n signal n, else the guest's."


class _Parser(argparse.ArgumentParser):
    """Errors as everywhere in Popek: one line, 125."""

    def error(self, message: str) -> NoReturn:
        print(f"popek: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(OUR_ERROR)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The chosen command with its options. Raises SystemExit after help and after errors."""
    arguments = _joined(arguments)
    known = parser(*arguments[:1])
    arguments, guest_command = _split(arguments, known)
    if arguments[:1] in (
        ["boot"],
        ["profile"],
    ):  # its value is optional, and must not be taken for the kernel or the other way round
        arguments = ["--check=step" if text == "--check" else text for text in arguments]
    chosen = known.parse_args(arguments)
    if guest_command:
        if chosen.command not in RUNNING:
            known.error(f"only `run` and `profile run` take a command after --, not `popek {chosen.command}`")
        chosen.guest_command = guest_command
    return chosen


def _joined(arguments: list[str]) -> list[str]:
    """`profile run` is a command of its own, whichever options stand between."""
    if arguments[:1] == ["profile"]:
        takes = parser("profile").with_value  # type: ignore[attr-defined]
        value = False
        for at, text in enumerate(arguments[1:], 1):
            if value or text.startswith("-"):
                value = not value and text in takes
            elif text == "run":
                return ["profile run", *arguments[1:at], *arguments[at + 1 :]]
            else:
                break
    return arguments


def _split(arguments: list[str], known: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Ours, and the guest's command, whose options are its own: it begins after `--` or as second word after `run`."""
    words = 0
    running = arguments[0] in RUNNING if arguments else False
    takes = known.with_value if running else frozenset()  # type: ignore[attr-defined]
    value = False
    for at, text in enumerate(arguments):
        if value:
            value = False
        elif text == "--":
            return arguments[:at], arguments[at + 1 :]
        elif text.startswith("-"):
            value = text in takes
        else:
            words += 1
            if words == 3 and running:
                return arguments[:at], arguments[at:]
    return arguments, []


def parser(only: str = "") -> argparse.ArgumentParser:
    """`only`: name of a command. If there is one, a start need not pay for the others."""
    top = _Parser(prog="popek", description=ABOUT, epilog=STATUS, formatter_class=_Help)
    top.add_argument("--version", action="version", version=_Version())  # type: ignore[arg-type]
    commands = top.add_subparsers(prog="popek", dest="command", metavar="COMMAND", required=True)
    known: dict[str, Callable[[_Commands], frozenset[str] | None]] = {
        "run": _run, "boot": _boot, "profile": _profile, "profile run": _profile_run, "image": _image,
        "prune": _prune, "doctor": _doctor
    }  # fmt: skip
    for name, add in known.items():
        if name == only or only not in known:
            top.with_value = add(commands) or frozenset()  # type: ignore[attr-defined]
    return top


def _prune(commands: _Commands) -> None:
    prune = commands.add_parser("prune", help="forget downloads and left-overs of broken builds")
    prune.add_argument("--all", action="store_true", help="also the images and the compiled code")


def _doctor(commands: _Commands) -> None:
    doctor = commands.add_parser("doctor", help="what works on this host and why not; exit 0 if anything can run")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--offline", action="store_true", help="do not ask the network")


class _Help(argparse.RawDescriptionHelpFormatter):
    """One is made for each option; asking shutil for the width would cost every start 3 ms."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, **{"width": _columns() - 2} | more)


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    try:
        return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class _Version:
    def __mod__(self, ignored: object) -> str:
        from popek import __version__

        return f"popek {__version__}"


def _add(commands: _Commands, name: str, help: str, epilog: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=help, description=help, epilog=epilog, formatter_class=_Help)


def _run(commands: _Commands) -> frozenset[str]:
    """Returns those options that a value follows."""
    about = f"""\
The guest starts from a copy-on-write view of the image: what it changes is forgotten when it ends.
Piped input and output are the command's own, stdout and stderr apart, 8-bit clean:
  tar c . | popek run debian -- tar tv
On a terminal: {RUN_KEYS}. Ctrl-C and window size go to the guest.
{STATUS}"""
    return _with_value(
        _running(commands, "run", "run a command, or a shell, in a fresh guest made from an image", about)
    )


def _with_value(p: argparse.ArgumentParser) -> frozenset[str]:
    return frozenset(text for action in p._actions if action.nargs is None for text in action.option_strings)


def _running(commands: _Commands, name: str, help: str, about: str) -> argparse.ArgumentParser:
    """A command with the options of a guest made from an image."""
    p = _add(commands, name, help, about)
    p.add_argument("image", metavar="NAME", help="debian, busybox; `popek image ls` shows all")
    p.set_defaults(guest_command=[])
    p.usage = f"popek {name} [OPTION]... NAME [[--] COMMAND [ARGUMENT]...]"
    p.add_argument("-i", "--interactive", action="store_true", help="pass stdin on (it always is)")
    tty = p.add_mutually_exclusive_group()
    tty.add_argument(
        "-t", "--tty", action="store_true", default=None, help="give the command a terminal (default: if we have one)"
    )
    tty.add_argument("-T", "--no-tty", dest="tty", action="store_false", help="give it none")
    p.add_argument(
        "-e", "--env", action="append", default=[], metavar="N=V", help="set a variable (N alone: as it is here)"
    )
    p.add_argument("-w", "--workdir", default="", metavar="DIR", help="start in this folder of the guest")
    p.add_argument("--memory", default="512M", metavar="SIZE", help="of the guest (default %(default)s)")
    p.add_argument("--cpus", default="1", metavar="N", help="1 to 8 (default %(default)s)")
    p.add_argument("--name", default="", help="name of this guest, also its host name")
    p.add_argument("--rm", action="store_true", help="forget the guest afterwards (it always is)")
    p.add_argument("--engine", default="auto", metavar="NAME", help=argparse.SUPPRESS)
    _vectors(p)
    _statistics(p, name)
    p.add_argument("-q", "--quiet", action="store_true", help="errors only on stderr")
    p.add_argument("--no-progress", action="store_true", help="no progress lines")
    return p


def _profile(commands: _Commands) -> frozenset[str]:
    help = "boot as `popek boot` does, and tell at the end in which functions the guest spent its time"
    p = _booting(
        commands,
        "profile",
        help,
        f"""\
`popek profile run [OPTION]... NAME -- COMMAND` does so with a command, as `popek run` runs it.
{PROFILE} The table is printed on stdout behind what the guest printed.
{STATUS}""",
    )
    return _profiling(p)


def _profile_run(commands: _Commands) -> frozenset[str]:
    help = "run a command as `popek run` does, and tell at the end in which functions the guest spent its time"
    about = f"""\
{PROFILE} The table is printed on stderr; stdout is the command's own.
{STATUS}"""
    p = _running(commands, "profile run", help, about)
    return _profiling(p)


def _profiling(p: argparse.ArgumentParser) -> frozenset[str]:
    p.add_argument("--out", default="", metavar="FILE.svg", help="write a flame graph there")
    p.add_argument("--top", default="20", metavar="N", help="lines of the table (default %(default)s)")
    p.add_argument(
        "--symbols", action="append", default=[], metavar="FILE[@ADDR]",
        help="more names: an ELF file or a System.map; with ADDR (hex) it lies so far from where it was linked for",
    )  # fmt: skip
    return _with_value(p)


def _boot(commands: _Commands) -> None:
    _booting(
        commands,
        "boot",
        "boot a kernel, a firmware or a bare-metal program; its serial console is stdin and stdout",
        f"""\
The machine is QEMU's -M virt: same memory map, same devices. Kernels: Linux Image (also in gzip, zstd, xz or EFI
zboot), ELF kernels; ELF programs linked for 0x80000000 start in machine mode. Without --bios the monitor itself
provides SBI. The machine ends when the guest powers off (exit 0) or writes a code to the test finisher (that code).
On a terminal: {BOOT_KEYS}.
{STATUS}""",
    )


def _booting(commands: _Commands, name: str, help: str, epilog: str) -> argparse.ArgumentParser:
    """A command with the options of a machine."""
    p = _add(commands, name, help, epilog)
    p.add_argument("kernel", metavar="KERNEL", nargs="?", default="", help="may be left out with --bios")
    p.add_argument("--kernel", dest="kernel_option", default="", metavar="FILE", help=argparse.SUPPRESS)
    p.add_argument("--initrd", default="", metavar="FILE", help="initial RAM disk")
    p.add_argument("--append", default="", metavar="TEXT", help="the kernel's command line")
    p.add_argument("--bios", default="", metavar="FILE", help="machine-mode firmware: OpenSBI, U-Boot (none: as QEMU)")
    p.add_argument("--memory", "-m", default="512M", metavar="SIZE", help="default %(default)s")
    p.add_argument("--smp", default="1", metavar="N", help="harts, 1 to 8 (default %(default)s)")
    p.add_argument(
        "--disk", action="append", default=[], metavar="FILE[,OPTION]...",
        help="a virtio disk, raw or qcow2; options: ro, snapshot (the file stays as it is), format=raw or qcow2, "
        "backing=any (a qcow2 may build on files outside its folder)",
    )  # fmt: skip
    p.add_argument(
        "--engine", default="auto", metavar="NAME", help="auto (default), optimizing, template, step or reference"
    )
    p.add_argument(
        "--check", default="", metavar="ENGINE",
        help="let a second engine run beside the first and stop where they differ: step (--check alone) or reference "
        "(slow); one hart",
    )  # fmt: skip
    _vectors(p)
    p.add_argument("--dtb-out", default="", metavar="FILE", help="write the device tree there before starting")
    p.add_argument("--no-reboot", action="store_true", help="end when the guest resets")
    _statistics(p, name)
    return p


def _vectors(p: argparse.ArgumentParser) -> None:
    """With or without the vector extension; left open, api/spec decides."""
    choice = p.add_mutually_exclusive_group()
    choice.add_argument(
        "--vector", action="store_true", default=None, help="harts with the vector extension (V, VLEN=256)"
    )
    choice.add_argument("--no-vector", dest="vector", action="store_false", help="harts without it")


def _statistics(p: argparse.ArgumentParser, name: str) -> None:
    """What a run cost. `name`: of the command."""
    p.add_argument("--stats", action="store_true", help="print at the end times, counters and stops, on stderr")
    p.add_argument("--stats-out", default="", metavar="FILE", help="write them there, as JSON")
    what = "the table" if name.startswith("profile") else "the statistics, last line on stderr,"
    p.add_argument("--json", action="store_true", help=f"{what} as JSON")


def _image(commands: _Commands) -> None:
    image = commands.add_parser("image", help="the images on this host: ls, rm")
    what = image.add_subparsers(dest="what", metavar="ls|rm", required=True)
    ls = what.add_parser("ls", help="known images, and which are built")
    ls.add_argument("--json", action="store_true", help="for programs")
    rm = what.add_parser("rm", help="forget a built image")
    rm.add_argument("names", nargs="+", metavar="NAME")
