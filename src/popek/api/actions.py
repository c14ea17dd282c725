"""Everything a user can do, once: every face (command line, Python, REST) calls these functions and adds nothing.

What is here decides and waits; how a machine is put together is api/machine, how images are made is images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from popek.api.spec import Disk, Spec
from popek.base.errors import BadInput

if TYPE_CHECKING:
    from popek.api.checks import Check
    from popek.api.machine import Machine
    from popek.api.profile import Profile
    from popek.api.session import Session
    from popek.api.statistics import Measure
    from popek.images.catalog import Image
    from popek.images.keeping import State


LEAST_MEMORY = 128 << 20  # with less, Debian's kernel panics before it has a console, and waits for ever


class Ended(NamedTuple):
    """How a machine ended."""

    kind: str  # "off", "reset", "fail", or "stopped" from outside
    status: int  # for a shell
    statistics: dict


def once(warn: Callable[[str], None]) -> Callable[[str], None]:
    """`warn`, but told only once of each thing: what is before the first colon."""
    told: set[str] = set()

    def tell(text: str) -> None:
        thing = text.partition(":")[0]
        if thing not in told:
            told.add(thing)
            warn(text)

    return tell


def boot(
    spec: Spec,
    attend: Callable[[Machine], int],
    *,
    output: int | Callable[[bytes], None] = -1,
    reboot: bool = True,
    dtb_out: str = "",
    statistics: bool = False,
    progress: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
    agreed: Callable[[str], None] | None = None,
    profile: Profile | None = None,
) -> Ended:
    """Run a machine to its end, or through as many resets as its guest asks for.

    `attend(machine)` serves the running machine (input, signals) and returns when it has ended: 0, or the signal that
    made it stop the machine, or -1 if the user left. `progress` hears of what takes long before the start, `warn` of
    what is wrong and makes the guest slower at most, `agreed` of what two engines agreed on (spec.check),
    `profile` of where samples found the harts.
    """
    from popek.api.machine import Machine

    spec.checked()
    warn = warn and once(warn)
    if profile:
        profile.prepare(spec)
    while True:
        measure = _measure(statistics)
        with (
            Machine(spec, serial_out=output, progress=progress, warn=warn) as machine,
            profile.watching(machine) if profile else nullcontext(),
        ):
            if dtb_out:
                with open(dtb_out, "wb") as file:
                    file.write(machine.device_tree)
                dtb_out = ""
            if measure:
                measure.start(machine)
            machine.start()
            signal = attend(machine)
            outcome = machine.wait()
            assert outcome is not None  # there is no timeout
            counted = measure.summary(machine) if measure else {}
            if agreed and spec.check:
                agreed(machine.agreement())
        if signal:
            return Ended("stopped", 128 + signal if signal > 0 else 0, counted)
        if outcome.kind == "reset" and reboot:
            continue
        status = outcome.code & 0xFF or bool(outcome.code) if outcome.kind == "fail" else 0
        return Ended(outcome.kind, int(status), counted)


def _measure(wanted: bool) -> Measure | None:
    if not wanted:
        return None
    from popek.api.statistics import Measure

    return Measure()


def image(name: str, progress: Callable[..., None]) -> Image:
    """The image of this name, built if it is not there yet. Raises BadInput for an unknown one."""
    from popek.images import catalog

    _known(name)
    return catalog.get(name, build_guest, progress)


def _known(name: str) -> None:
    from popek.images import catalog

    if name not in catalog.known():
        import difflib

        near = difflib.get_close_matches(name, catalog.known(), 1, 0.4)
        raise BadInput(
            f"there is no image {name!r}",
            f"did you mean {near[0]}?" if near else f"known are {', '.join(catalog.known())}",
        )


def build_guest(*arguments: Any, **options: Any) -> Any:
    """The runner of a build; what it needs is imported only when something is built."""
    from popek.api import build

    return build.run(*arguments, **options)


def run(
    made: Image,
    command: Sequence[str],
    attend: Callable[[Session], int],
    *,
    tty: bool = False,
    size: tuple[int, int] = (80, 24),
    env: Mapping[str, str] = MappingProxyType({}),
    workdir: str = "",
    memory: int = 512 << 20,
    harts: int = 1,
    name: str = "",
    engine: str = "auto",
    vector: bool | None = None,
    stdout: int = 1,
    stderr: int = 2,
    progress: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
    profile: Profile | None = None,
    measured: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Run a command in a fresh guest and forget the guest; the command's exit status.

    `vector`: with the vector extension or without (None: as a Spec has it).

    `attend(session)` serves it as in `boot`, `profile` hears of the samples, `measured` what it cost (statistics).
    """
    from popek.api.machine import Machine
    from popek.api.session import Session
    from popek.images import agent

    if memory < LEAST_MEMORY:
        raise BadInput(
            f"{memory >> 20} MiB of memory are too little: {made.name} needs {LEAST_MEMORY >> 20} MiB",
            "choose another --memory",
        )
    spec = Spec(
        kernel=made.kernel,
        initrd=made.initrd,
        append=f"{made.append} hostname={name}" if name else made.append,
        memory=memory,
        harts=harts,
        disks=(Disk(made.disk, "raw", overlay=True, serial=made.serial),) if made.disk else (),
        engine=engine,
        name=name,
        vector=Spec().vector if vector is None else vector,
    ).checked()
    if profile:
        profile.prepare(spec)
    request = agent.requests(command, tty, env, workdir or None)
    session = Session(request, tty=tty, size=size, stdout=stdout, stderr=stderr)
    measure = _measure(measured is not None)
    try:
        with (
            Machine(
                spec, serial_out=session.serial, ports=session.ports, progress=progress, warn=warn and once(warn)
            ) as machine,
            profile.watching(machine, session) if profile else nullcontext(),
        ):
            session.attach(machine)
            if measure:
                measure.start(machine)
            machine.start()
            signal = attend(session)
            if not signal and session.undecided:
                machine.wait()  # raises what went wrong with the machine itself
            session.stop()
            if measure and measured:
                measured(measure.summary(machine))
        return 128 + signal if signal > 0 else 0 if signal else session.result()
    finally:
        session.close()


def image_list() -> list[State]:
    """All known images: name, built, size on this host's disk, version."""
    from popek.images import keeping

    return keeping.states()


def image_remove(name: str) -> bool:
    """Forget a built image; False if there was none."""
    from popek.images import keeping

    _known(name)
    return keeping.remove(name)


def prune(everything: bool = False) -> int:
    """Forget downloads and left-overs, or all that is kept; the bytes freed."""
    from popek.images import keeping

    return keeping.prune(everything)


def doctor(offline: bool = False) -> Iterator[Check]:
    """What works on this host, one check after the other."""
    from popek.api import checks

    return checks.run(offline)
