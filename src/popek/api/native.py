"""Which functions of the monitor, the devices and an engine become native code, and how their ports connect.

The only place that binds the typed subset's ports. Compiled once; a start from the cache imports none of it.
"""
from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from popek.lang import cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from popek.lang.objects import Image

#: What may end up in a build, under src/popek.
_TEMPLATE = ("base/*.py", "lang/*.py", "isa/**/*.py", "engine/*.py", "engine/template/*.py",
             *(f"engine/optimizing/{name}.py" for name in ("hooks", "image", "regions", "sampling", "state", "views")))
_STEP = ("base/*.py", "lang/*.py", "isa/**/*.py", "engine/step.py")
_MONITOR = ("abi/sbi*.py", "devices/*.py", "vmm/*.py", "hosted/*.py", "api/native.py", "api/guest.py")
_SOURCES = {"templates": _TEMPLATE, "template": _TEMPLATE + _MONITOR, "step": _STEP + _MONITOR}


def key(build: str) -> str:
    """Names a build: it changes with any source that may end up in it."""
    root = Path(__file__).parent.parent
    return cache.fingerprint(build, *(path for pattern in _SOURCES[build] for path in sorted(root.glob(pattern))))


def connections() -> dict[Any, Any]:
    """Port -> function, for everything but the engine's own and the host's."""
    from popek.abi import sbi_port
    from popek.devices import builtin, clint, irq, rtc, syscon, uart
    from popek.isa import ports
    from popek.vmm import allocator, console, dispatcher, port, services, timers

    bound: dict[Any, Any] = {
        ports.mmio_read: dispatcher.mmio_read,
        ports.mmio_write: dispatcher.mmio_write,
        ports.read_time: timers.read_time,
        ports.timer_changed: timers.timer_changed,
        ports.wait_for_interrupt: allocator.wait_for_interrupt,
        ports.spins: allocator.spins,
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

    return [guest.guest_size, guest.prepare, guest.start_at, guest.hart_address, guest.run_timers, guest.stop,
            guest.outcome, guest.take_output, guest.give_input, guest.close_output, guest.set_source, guest.stops,
            guest.retired]


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
    from popek.engine.template import coherence, run, setup
    from popek.vmm import allocator, dispatcher

    functions, bound, substitute = setup.build_parts()
    bound |= {run.poll: dispatcher.poll, run.trap: dispatcher.trap, coherence.asleep: allocator.asleep}
    return functions, bound, substitute


def text(engine: str) -> str:
    """The whole as LLVM IR."""
    from popek.lang.llvm import emit

    functions, bound, substitute = {"step": step_parts, "template": template_parts}[engine]()
    return emit([*exports(), *functions], ports={**connections(), **host_connections(), **bound},
                substitute=substitute, exports=[*exports(), *functions])


def image(engine: str, progress: Callable[[str], None] | None = None) -> Image:
    """The native code, from the cache if it is there."""
    from popek.lang import objects

    def make() -> Image:
        if engine == "template":
            _templates_meanwhile()
        gc.disable()  # a front end makes trees, not garbage
        try:
            return objects.build(text(engine))
        finally:
            gc.enable()

    return objects.cached(key(engine), make, progress)


def _templates_meanwhile() -> None:
    """Compile the template library in a second process; `templates` will find it in the cache, or wait for it there."""
    import subprocess

    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.Popen([sys.executable, "-m", "popek.api.native"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path})


def templates(progress: Callable[[str], None] | None = None) -> bytes:
    """The template engine's library, from the cache if it is there."""

    def make() -> bytes:
        from popek.engine.template import library

        return library.build()

    return cache.kept(key("templates"), make, progress)


if __name__ == "__main__":
    templates()
