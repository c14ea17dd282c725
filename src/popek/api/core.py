"""The running part of a machine in native code, handled by address: what api/machine needs of a core, on compiled code.

Knows names of exported functions and nothing of layouts, so that a start from the cache imports neither isa nor vmm.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from popek.api import native
from popek.base.memory import Block

if TYPE_CHECKING:
    from popek.engine.codecache import CodeCache
    from popek.engine.optimizing.manager import Manager
    from popek.lang.objects import Library

_u64, _u32 = ctypes.c_uint64, ctypes.c_uint32
_HALTED = 4


class NativeCore:
    """Harts, devices in native code and the monitor, compiled together with one engine."""

    threads_needed = True

    def __init__(
        self, engine: str, harts: int, monitor: bool, ram: Block, ram_base: int, answer: Callable[[int], int],
        progress: Callable[[str], None] | None = None, warn: Callable[[str], None] | None = None, build: str = "",
    ) -> None:  # fmt: skip
        """`build`: of the native code, if it is not the engine's usual one."""
        self.harts = harts
        engine = "template" if engine == "optimizing" else engine  # which comes on top: `optimize`
        self._kept: dict[str, bool] = {}  # builds, by whether the cache had them
        heard = self._look_for("native", build or engine, progress)
        template_heard = self._look_for("templates", "templates", progress) if engine == "template" else None
        self._library: Library = native.image(build or engine, heard, warn).link()
        self._functions: dict[str, Any] = {}
        self._answer = ctypes.CFUNCTYPE(_u64, _u64)(answer)
        self._guest = Block(self._call("guest_size", _u64)())
        self._here = self._guest.address
        size = len(ram.map)
        self._code_map = Block(size >> 12) if engine == "template" else None
        self._call("prepare", None, _u64, _u32, _u32, _u64, _u64, _u64, _u64, _u64)(
            self._here, harts, int(monitor), ram.address, ram_base, size,
            self._code_map.address if self._code_map else 0,
            ctypes.cast(self._answer, ctypes.c_void_p).value)  # fmt: skip
        hart = self._call("hart_address", _u64, _u64, _u64)
        self._hart = [hart(self._here, i) for i in range(harts)]
        self._keep: list[Any] = []
        self._manager: Manager | None = None
        self._cache: CodeCache | None = None
        self._spent = [0.0] * harts
        self.template_library = 0  # host address; 0: another engine
        self._warn = warn
        if engine == "template":
            self._attach_template(template_heard, warn)
            self._run = self._library.call("popek.engine.template.run.run_hart", None, _u64)
            wrote = "popek.engine.template.coherence.device_wrote"
            self._wrote: Any = self._library.call(wrote, None, _u64, _u64, _u64)
        else:
            self._attach_step()
            self._run = self._library.call("popek.engine.step.run_hart", None, _u64)
            self._wrote = None
        for name, result, arguments in (
            ("run_timers", None, (_u64,)), ("take_output", _u64, (_u64, _u64, _u64)), ("outcome", _u64, (_u64,)),
            ("give_input", _u64, (_u64, _u64, _u64)), ("set_source", None, (_u64, _u64, _u32)),
            ("stop", None, (_u64, _u32)), ("close_output", None, (_u64,)),
        ):  # fmt: skip
            self._functions[name] = self._call(name, result, *arguments)

    def _look_for(
        self, name: str, build: str, progress: Callable[[str], None] | None
    ) -> Callable[[str], None]:  # fmt: skip
        """Note whether the cache has a build. What is returned hears if it has to be made."""
        self._kept[name] = native.kept(build)

        def made(text: str) -> None:
            self._kept[name] = False
            if progress is not None:
                progress(text)

        return made

    def _call(self, name: str, result: Any, *arguments: Any) -> Any:
        return self._library.call(f"popek.api.guest.{name}", result, *arguments)

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        """Any exported function of the native code."""
        return self._library.call(name, result, *arguments)

    def hart_address(self, i: int) -> int:
        """Host address of hart `i`."""
        return int(self._hart[i])

    def _attach_step(self) -> None:
        size = self._library.call("popek.engine.step.step_size", _u64)()
        attach = self._library.call("popek.engine.step.attach", None, _u64, _u64)
        for hart in self._hart:
            self._keep.append(Block(size))
            attach(hart, self._keep[-1].address)

    def _attach_template(
        self, progress: Callable[[str], None] | None, warn: Callable[[str], None] | None
    ) -> None:  # fmt: skip
        from popek.engine.template.setup import TemplateEngine

        engine = TemplateEngine(self._library, native.templates(progress, warn))
        self.template_library = engine.library.address
        self._keep.append(engine)
        self._template = engine
        for i, hart in enumerate(self._hart):
            engine.attach(hart, i, self.harts)

    def lend_vectors(self) -> None:
        """Let the harts have vectors. What executes them is fetched when a guest first needs it."""
        from popek.api.vectors import Vectors

        self._keep.append(Vectors(self._library, self._here, self.harts, self._warn))

    def optimize(self, eager: bool) -> None:
        """Put the optimizing engine beside the template engine; its thread is `run_manager`."""
        from popek.engine.codecache import CodeCache
        from popek.engine.optimizing.manager import Manager
        from popek.engine.optimizing.places import Policy

        cache = self._cache = CodeCache.open(native.key("regions"), self._warn)
        policy = Policy.eager() if eager else Policy.usual()
        self._manager = Manager(
            self._library, self._template.library.address, self.harts, cache, policy, self._warn or (lambda text: None)
        )

    def run_manager(self) -> None:
        """The thread of the optimizing engine; ends after `end_manager`. The guest goes on whatever happens here."""
        assert self._manager is not None
        try:
            self._manager.run()
        except Exception as error:  # a defect of ours, that costs time and nothing else
            if self._warn is not None:
                self._warn(f"the optimizing engine ended: {type(error).__name__}: {error}")

    def end_manager(self) -> None:
        """No hart runs any more."""
        if self._manager is not None:
            self._manager.end()

    def engine_statistics(self) -> dict[str, Any]:
        """Counters of the engines, summed over the harts. Exact once all threads have ended."""
        counted: dict[str, Any] = {}
        if self.template_library:
            for hart in self._hart:
                for name, count in self._template.statistics(hart).items():
                    counted[name] = counted.get(name, 0) + count
        if self._manager is not None:
            counted |= self._manager.statistics()
        return counted

    def measure(self) -> None:
        """Measure also what costs time to be measured. Before the harts run."""
        if self.template_library:
            for hart in self._hart:
                self._template.measure(hart)

    def cache_statistics(self) -> dict[str, Any]:
        """What the caches of compiled code had: builds (by name, whether it was there), and regions."""
        regions = {} if self._cache is None else self._cache.statistics()
        return {"builds": dict(self._kept), "regions": regions}

    def hart_seconds(self) -> float:
        """Processor time of the harts' threads. Of those that have ended."""
        return sum(self._spent)

    def start_at(self, i: int, pc: int, a1: int, a2: int) -> None:
        """Hart `i` runs from `pc` once its thread does."""
        self._call("start_at", None, _u64, _u64, _u64, _u64, _u64)(self._here, i, pc, a1, a2)

    def run_hart(self, i: int) -> None:
        """A hart's thread."""
        began = time.thread_time()
        self._run(self._hart[i])
        self._spent[i] += time.thread_time() - began

    def run_timers(self) -> None:
        """The timer thread."""
        self._functions["run_timers"](self._here)

    def stop(self) -> None:
        """End the machine from outside. Any thread."""
        self._functions["stop"](self._here, _HALTED)

    def outcome(self) -> tuple[int, int]:
        """How it ended (0: it runs), and the code of a failure."""
        both = self._functions["outcome"](self._here)
        return both & 0xFF, both >> 8

    def take_output(self, place: int, size: int) -> int:
        """Wait for output; bytes, 0 when there is room for input again, -1 at the end."""
        n: int = self._functions["take_output"](self._here, place, size)
        return n if n >> 63 == 0 else -1

    def give_input(self, data: bytes) -> int:
        """Offer input; how many bytes were taken."""
        held = ctypes.create_string_buffer(data, len(data))
        return int(self._functions["give_input"](self._here, ctypes.addressof(held), len(data)))

    def close_output(self) -> None:
        """Output ends once it is taken. Any thread."""
        self._functions["close_output"](self._here)

    def set_source(self, source: int, level: int) -> None:
        """Drive an interrupt source. Any thread."""
        self._functions["set_source"](self._here, source, level)

    def wrote(self, paddr: int, n: int) -> None:
        """A device wrote to RAM."""
        if self._wrote is not None:
            self._wrote(self._hart[0], paddr, n)

    def counters(self) -> list[tuple[int, list[int]]]:
        """Of each hart: instructions retired, stops by cause."""
        stops = self._call("stops", _u64, _u64, _u64, _u64)
        retired = self._call("retired", _u64, _u64, _u64)
        return [(retired(self._here, i), [stops(self._here, i, c) for c in range(40)]) for i in range(self.harts)]

    def places(self) -> list[tuple[int, int, int, int, int]]:
        """Of the harts that run: pc, mode, satp, tp, sscratch. Any thread; of engines that keep them in memory."""
        look = self._call("look", None, _u64, _u64, _u64)
        asleep = self._call("sleeps", _u64, _u64, _u64)
        found = []
        for i in range(self.harts):
            if not asleep(self._here, i):
                words = (_u64 * 5)()
                look(self._here, i, ctypes.addressof(words))
                found.append((words[0], words[1], words[2], words[3], words[4]))
        return found

    def free(self) -> None:
        """After all threads have ended."""
        if self._manager is not None:
            self._manager.free()
        self._guest.free()
