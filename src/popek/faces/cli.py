"""The command line: finds the command, runs it, and turns every failure into one line and an exit status.

125 is our own error, 126 and 127 mean what they mean in a shell, 128 + n is signal n, everything else is the guest's.
What the options mean is in `options`, what a command does in `commands` and `api/actions`.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

TYPE_CHECKING = False  # as typing has it; importing that would take longer than all else that `popek --version` does
if TYPE_CHECKING:
    from typing import NoReturn

OUR_ERROR = 125
GARBAGE = 100_000  # objects until the collector looks for some


def program() -> NoReturn:
    """The process `popek`. Two things cost a start 10 ms and serve nobody: looking for garbage among the objects that
    imports make, and taking the interpreter apart at the end."""
    gc.set_threshold(GARBAGE, 20, 100)
    status = main()
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except (OSError, ValueError):
            status = status or OUR_ERROR
    os._exit(status & 0xFF)


def main(arguments: list[str] | None = None) -> int:
    """All that `popek` does; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _standard_files()
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # What could not be written stays in the buffer, and the interpreter would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):  # whoever read our output has gone: that is not an error
            return 141
        return _explain(error)


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:  # before anything is imported
        from popek import __version__

        print(f"popek {__version__}")
        return 0
    from popek.faces import options

    try:
        chosen = options.parse(arguments)
    except SystemExit as end:  # argparse has said it all
        return end.code if isinstance(end.code, int) else OUR_ERROR
    match chosen.command:
        case "boot":
            from popek.faces.commands import boot as command
        case "run":
            from popek.faces.commands import run as command  # type: ignore[no-redef]
        case "profile" | "profile run":
            from popek.faces.commands import profile as command  # type: ignore[no-redef]
        case _:
            from popek.faces.commands import keeping as command  # type: ignore[no-redef]
    return command.main(chosen)


def _standard_files() -> None:
    """Have all three, so that no file of ours gets their numbers (`popek boot ... <&-`)."""
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)
    sys.stdin = sys.stdin or open(0)
    sys.stdout = sys.stdout or open(1, "w")
    sys.stderr = sys.stderr or open(2, "w")


def _explain(error: Exception) -> int:
    """One line on stderr: what is wrong, where, what to do."""
    from popek.base.errors import PopekError

    if os.environ.get("POPEK_DEBUG"):
        import traceback

        traceback.print_exception(error)
        return OUR_ERROR
    if isinstance(error, PopekError):
        text = error.line()
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror or error}"
    elif isinstance(error, MemoryError):
        text = "the host has not enough memory; give the machine less --memory"
    else:
        text = f"internal error: {type(error).__name__}: {error}; POPEK_DEBUG=1 shows where, please report it"
    try:
        print("popek: " + " ".join(text.split()), file=sys.stderr, flush=True)
        if details := getattr(error, "details", ""):
            print(details, file=sys.stderr, flush=True)
    except OSError:
        pass
    return OUR_ERROR


if __name__ == "__main__":
    program()
