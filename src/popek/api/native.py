"""Which functions of the monitor, the devices and an engine become native code, and how their ports connect.

The only place that binds the typed subset's ports. Compiled once; a start from the cache imports none of it.
"""
from __future__ import annotations

import gc
import os
import sys
from functools import cache as once
from typing import TYPE_CHECKING, Any, TypeAlias

from popek.lang import cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from popek.lang.objects import Image

ROOT = os.path.dirname(os.path.dirname(__file__))
#: What may end up in a build, under src/popek.
_ISA = ("base/*.py", "lang/*.py", "isa/*.py", "isa/softfloat/*.py")
_TEMPLATE = (*_ISA, "engine/*.py", "engine/template/*.py")
_REGIONS = (*_TEMPLATE, "engine/optimizing/*.py")
_STEP = (*_ISA, "engine/step.py", "engine/vector.py")
_MONITOR = ("abi/sbi*.py", "devices/*.py", "vmm/*.py", "hosted/*.py", "api/native.py", "api/guest.py")
_VECTORS = (*_ISA, "isa/vector/*.py", "engine/vector*.py")
_SOURCES = {
    "templates": (*_TEMPLATE, "engine/optimizing/state.py", "engine/optimizing/image.py"),
    "template": _REGIONS + _MONITOR, "step": _STEP + _MONITOR, "regions": _REGIONS,
    "template-check": _REGIONS + _MONITOR, "step-check": _STEP + _MONITOR,
    "vectors": _VECTORS, "vector-accesses": _VECTORS,
}  # fmt: skip
#: The folders they are in.
_FOLDERS = ("base", "lang", "isa", "isa/softfloat", "isa/vector", "engine", "engine/template", "engine/optimizing",
            "abi", "devices", "vmm", "hosted", "api")  # fmt: skip


def key(build: str) -> str:
    """Names a build ("templates", "template", "step", "step-check"), or what the optimizing engine makes ("regions").

    It changes with any source that may end up in it.
    """
    return _keys()[build]


@once
def _keys() -> Mapping[str, str]:
    return cache.keys(ROOT, _FOLDERS, _make_keys)


def _make_keys() -> dict[str, str]:
    from pathlib import Path

    root = Path(ROOT)
    return {build: cache.fingerprint(build, *(path for pattern in patterns for path in sorted(root.glob(pattern))))
            for build, patterns in _SOURCES.items()}  # fmt: skip


def connections() -> dict[Any, Any]:
    """Port -> function, for everything but the engine's own and the host's."""
    from popek.abi import sbi_port
    from popek.devices import builtin, clint, irq, rtc, syscon, uart
    from popek.engine import vector
    from popek.isa import ports
    from popek.vmm import allocator, console, dispatcher, port, services, timers

    bound: dict[Any, Any] = {
        ports.mmio_read: dispatcher.mmio_read,
        ports.mmio_write: dispatcher.mmio_write,
        ports.read_time: timers.read_time,
        ports.timer_changed: timers.timer_changed,
        ports.wait_for_interrupt: allocator.wait_for_interrupt,
        ports.spins: allocator.spins,
        ports.vector: vector.vector,
        port.device_read: builtin.device_read,
        port.device_write: builtin.device_write,
        port.devices_tick: builtin.devices_tick,
        port.input_arrived: builtin.input_arrived,
        irq.drive: allocator.drive,
        clint.lines: allocator.lines,
        irq.relax: port.give_way,
        clint.read_time: timers.read_time,
        clint.set_time: timers.set_time,
        clint.machine_deadline: timers.machine_deadline,
        clint.set_machine_deadline: timers.set_machine_deadline,
        uart.put: console.put,
        uart.output_room: console.output_room,
        uart.input_ready: console.input_ready,
        uart.get: console.get,
        rtc.wall_clock: timers.wall_clock,
        rtc.watch: timers.watched_by_device,
        syscon.finished: allocator.finished,
        builtin.guest_time: timers.timer_thread_time,
    }
    for name in vars(sbi_port):
        if hasattr(services, name) and getattr(getattr(sbi_port, name), "kind", "") == "port":
            bound[getattr(sbi_port, name)] = getattr(services, name)
    return bound


def host_connections() -> dict[Any, Any]:
    """The hosted monitor's operations."""
    from popek.hosted import port as hosted
    from popek.vmm import port

    return {getattr(port, name): getattr(hosted, name)
            for name in ("monotonic", "realtime", "sleep", "wake", "give_way", "host_device")}


def exports() -> list[Any]:
    """What Python calls."""
    from popek.api import guest
    from popek.engine import vector

    return [*vector.exports(), guest.vector_bytes, guest.lend_vectors, guest.vectors_enter,
            guest.guest_size, guest.prepare, guest.start_at, guest.hart_address, guest.run_timers, guest.stop,
            guest.outcome, guest.take_output, guest.give_input, guest.close_output, guest.set_source, guest.stops,
            guest.retired, guest.look, guest.sleeps]


def step_parts() -> tuple[list[Any], dict[Any, Any], dict[Any, Any]]:
    """Functions, ports and substitutes of the step engine."""
    from popek.engine import step
    from popek.isa import ports
    from popek.vmm import dispatcher

    bound = {
        ports.tlb_flush: step.tlb_flush, ports.tlb_regime_changed: step.forget_fetch,
        ports.pmp_changed: step.forget_fetch, ports.code_modified: step.code_modified, ports.fence_i: step.fence_i,
        step.poll: dispatcher.poll, step.trap: dispatcher.trap,
    }
    return [step.run_hart, step.step_size, step.attach], bound, {}


def template_parts() -> tuple[list[Any], dict[Any, Any], dict[Any, Any]]:
    """Functions, ports and substitutes of the template engine."""
    from popek.engine.optimizing import watching
    from popek.engine.template import coherence, run, setup
    from popek.hosted import port as hosted
    from popek.vmm import allocator, dispatcher

    functions, bound, substitute = setup.build_parts()
    bound |= {run.poll: dispatcher.poll, run.trap: dispatcher.trap, coherence.asleep: allocator.asleep,
              watching.pause: hosted.pause}
    return functions, bound, substitute


def check_parts(bound: dict[Any, Any]) -> tuple[list[Any], dict[Any, Any], dict[Any, Any]]:
    """Functions, ports and substitutes of a build that writes or replays a log (vmm.lockstep); `bound`: without."""
    from popek.abi import sbi_port
    from popek.isa import interrupts, ports
    from popek.vmm import dispatcher, lockstep

    instead = {dispatcher.poll: lockstep.poll, dispatcher.trap: lockstep.trap}
    changed: dict[Any, Any] = {port: instead[f] for port, f in bound.items() if f in instead}
    for of in (ports, sbi_port):
        for name, f in vars(lockstep).items():
            if getattr(getattr(of, name, None), "kind", "") == "port" and getattr(f, "kind", "") == "fn":
                changed[getattr(of, name)] = f
    substitute = {getattr(interrupts, name): getattr(lockstep, name)
                  for name in ("raise_interrupt", "lower_interrupt", "wakes")}  # fmt: skip
    functions = [lockstep.log_size, lockstep.begin, lockstep.rewind, lockstep.ask, lockstep.idle, lockstep.parked,
                 lockstep.note_memory, lockstep.one]  # fmt: skip
    return functions, changed, substitute


def text(engine: str) -> str:
    """The whole as LLVM IR. `engine`: template or step, or with "-check" behind it."""
    from popek.lang.llvm import emit

    name, _, check = engine.partition("-")
    functions, bound, substitute = {"step": step_parts, "template": template_parts}[name]()
    functions, bound = [*exports(), *functions], {**connections(), **host_connections(), **bound}
    if check:
        more, changed, instead = check_parts(bound)
        functions, bound, substitute = functions + more, bound | changed, substitute | instead
    return emit(functions, ports=bound, substitute=substitute, exports=functions)


def kept(build: str) -> bool:
    """Is a build in the cache?"""
    return cache.has(key(build))


Hearer: TypeAlias = "Callable[[str], None] | None"


def image(engine: str, progress: Hearer = None, warn: Hearer = None) -> Image:
    """The native code, from the cache if it is there. `progress` hears if it must be made, `warn` of a broken cache."""
    from popek.lang import objects

    def make() -> Image:
        if engine == "template" and cache.usable():
            _templates_meanwhile()
        gc.disable()  # a front end makes trees, not garbage
        try:
            return objects.build(text(engine))
        finally:
            gc.enable()

    return objects.cached(key(engine), make, progress, warn)


def _templates_meanwhile() -> None:
    """Compile the template library in a second process; `templates` will find it in the cache, or wait for it there."""
    from subprocess import DEVNULL

    _apart("templates", DEVNULL)


def _apart(what: str, output: int) -> Any:
    """This module as a program, in a process of its own."""
    from subprocess import DEVNULL, Popen

    path = os.pathsep.join([os.path.dirname(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Popen([sys.executable, "-m", "popek.api.native", what], stdin=DEVNULL, stdout=output, stderr=DEVNULL,
                 env={**os.environ, "PYTHONPATH": path})  # fmt: skip


def templates(progress: Hearer = None, warn: Hearer = None) -> bytes:
    """The template engine's library, from the cache if it is there."""

    def make() -> bytes:
        from popek.engine.template import library

        return library.build()

    return cache.kept(key("templates"), make, progress, warn)


def vectors(whole: bool = True, warn: Hearer = None) -> Image:
    """The library of vector instructions, or of their loads and stores, from the cache if it is there.

    It is made in another process: memory that the guest's process would not get back.
    """
    from subprocess import PIPE

    from popek.lang import objects

    def make() -> Image:
        process = _apart(build, PIPE)
        made: bytes = process.communicate()[0]
        if process.returncode != 0:
            raise OSError(f"making their code failed (exit status {process.returncode})")
        return objects.Image.from_bytes(made)

    build = "vectors" if whole else "vector-accesses"
    return objects.cached(key(build), make, None, warn)


def vectors_meanwhile() -> None:
    """Have the libraries of vector instructions made if they are not kept: a guest that needs them soon waits less."""
    from subprocess import DEVNULL

    if cache.usable() and not kept("vectors"):
        _apart("meanwhile", DEVNULL)


def _make_vectors(build: str) -> bytes:
    """A library of vector instructions, made now."""
    from popek.engine import vector_library
    from popek.lang import objects

    gc.disable()
    whole = build == "vectors"
    text = vector_library.text((os.cpu_count() or 1) if whole else 1, whole)
    return objects.build(text, vectorize=True).to_bytes()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["vectors" | "vector-accesses" as wanted]:
            sys.stdout.buffer.write(_make_vectors(wanted))
        case ["meanwhile"]:
            cache.kept(key("vector-accesses"), lambda: _make_vectors("vector-accesses"))
            os.nice(5)
            cache.kept(key("vectors"), lambda: _make_vectors("vectors"))
        case _:
            templates()
