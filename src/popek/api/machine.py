"""One virtual machine, running: wires memory, images, devices, monitor and engine together, and owns their threads.

The composition root: the only place that knows all rooms. A new device is one line in `_devices`.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from popek.abi import image
from popek.api.core import NativeCore
from popek.api.devicetree import Place
from popek.api.devicetree import build as build_device_tree
from popek.base.errors import BadInput, PopekError
from popek.base.memory import Block
from popek.devices.bus import Bus, GuestMemory, Line

if TYPE_CHECKING:
    from popek.api.sampler import Sampler, Seen
    from popek.api.spec import Spec

RAM_BASE = image.RAM_BASE
VIRTIO_BASE, VIRTIO_SIZE, VIRTIO_SLOTS, VIRTIO_SOURCE = 0x1000_1000, 0x1000, 8, 1
KINDS = {1: "off", 2: "reset", 3: "fail", 4: "stopped"}
CHUNK = 1 << 16
PIPE_PORTION = 4096            # a pipe that polls as writable takes so much without waiting (pipe(7), PIPE_BUF)
PATIENCE = 200                 # milliseconds between two looks whether output is still wanted
#: What the harts have, in the names of the device tree's riscv,isa-extensions.
EXTENSIONS = (
    "i", "m", "a", "f", "d", "c", "zicbom", "zicboz", "zicntr", "zicond", "zicsr", "zifencei", "zihintpause", "zawrs",
    "zfa", "zba", "zbb", "zbc", "zbs", "sstc", "svadu", "svinval", "svnapot", "svpbmt",
)  # fmt: skip
ENGINES = ("auto", "template", "optimizing", "step", "reference")
TEMPLATE_HOSTS = ("x86_64", "amd64")  # the template engine reads and patches their machine code
#: The devices in native code, for the device tree: kind, base, size, interrupt source.
BUILTIN = (
    Place("test", 0x10_0000, 0x1000, 0), Place("rtc", 0x10_1000, 0x1000, 11), Place("clint", 0x200_0000, 0x1_0000, 0),
    Place("plic", 0xC00_0000, 0x60_0000, 0), Place("serial", 0x1000_0000, 0x100, 10),
)  # fmt: skip


def _core_class(engine: str) -> Any:
    if engine != "reference":
        return NativeCore
    from popek.api.reference import ReferenceCore

    return ReferenceCore


class Outcome(NamedTuple):
    """How a machine ended: "off", "reset", "fail" (with the guest's code) or "stopped" from outside."""

    kind: str
    code: int


class Machine:
    """Made ready by the constructor, runs between `start` and its end; `close` (or `with`) gives everything back."""

    def __init__(
        self,
        spec: Spec,
        *,
        serial_out: int | Callable[[bytes], None] = -1,
        ports: Sequence[Any] = (),
        progress: Callable[[str], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """`progress` hears of what takes long before the start, `warn` of what is wrong but not fatal. Any thread."""
        if spec.engine not in ENGINES:
            raise BadInput(f"there is no engine called {spec.engine}", f"choose one of {', '.join(ENGINES)}")
        self.engine = spec.engine
        if spec.engine in ("auto", "template", "optimizing"):
            if os.uname().machine not in TEMPLATE_HOSTS:
                self.engine = "step"  # right, native, and about ten times slower
            elif spec.engine == "auto":
                self.engine = "optimizing"  # it stands on the template engine
        self.spec = spec
        self._serial_out = serial_out
        self._threads: list[threading.Thread] = []
        self._closers: list[Callable[[], None]] = []
        self._input = bytearray()
        self._input_lock = threading.Lock()
        self._failure: BaseException | None = None
        self._stopping = False
        self._ended = threading.Event()
        self._harts_running = spec.harts
        self._console: Any = None
        self._sampler: Sampler | None = None
        self._sampling: threading.Thread | None = None
        self.done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closers.append(lambda: os.close(self.done))
        try:
            self._build(spec, ports, progress, warn)
        except BaseException:
            self._give_back()
            raise

    def _build(
        self, spec: Spec, ports: Sequence[Any], progress: Callable[[str], None] | None,
        warn: Callable[[str], None] | None,
    ) -> None:  # fmt: skip
        boot = image.arrange(spec.kernel, spec.initrd, spec.bios, spec.memory)
        ram = Block(spec.memory, huge=True)
        self._closers.append(ram.free)
        self.bus = bus = Bus()
        arguments = spec.harts, not boot.machine_mode, ram, RAM_BASE, bus.callback(), progress, warn
        if spec.check:
            from popek.api.check import CheckedCore

            self._core: Any = CheckedCore(self.engine, spec.check, *arguments)
        else:
            self._core = _core_class(self.engine)(self.engine, *arguments)
        self._closers.append(self._core.free)
        if spec.vector:
            self._core.lend_vectors()
        self._optimizes = self.engine == "optimizing"
        if self._optimizes:
            self._core.optimize(eager=spec.engine == "optimizing")
        self._memory = GuestMemory(RAM_BASE, ram.view, self._core.wrote)
        places = self._devices(spec, bus, ports)
        for piece in boot.pieces:
            start = piece.address - RAM_BASE
            ram.view[start : start + len(piece.data)] = piece.data
        self.device_tree = build_device_tree(
            harts=spec.harts, extensions=(*EXTENSIONS, *(("v",) if spec.vector else ())), memory=spec.memory,
            devices=[*BUILTIN, *places],
            bootargs=spec.append,
            initrd=boot.initrd, seed=os.urandom(64))  # fmt: skip
        if len(self.device_tree) > image.DEVICE_TREE_ROOM:
            raise BadInput("the device tree is too large", "give a shorter --append")
        start = boot.device_tree - RAM_BASE
        ram.view[start : start + len(self.device_tree)] = self.device_tree
        for i in range(spec.harts if boot.machine_mode else 1):
            self._core.start_at(i, boot.entry, boot.device_tree, boot.dynamic_info)

    def _devices(self, spec: Spec, bus: Bus, ports: Sequence[Any]) -> list[Place]:
        """Put the device models on the bus; their places, for the device tree."""
        from popek.devices.virtio import mmio

        found: list[Any] = []
        if spec.disks:
            from popek.devices.virtio.blk import Block as VirtioBlock
            from popek.storage.block import open_disk

            for disk in spec.disks:
                store = open_disk(disk.path, disk.format, disk.readonly, disk.overlay, disk.backing_anywhere)
                self._closers.append(store.close)
                found.append(VirtioBlock(store, disk.serial))
        if ports:
            from popek.devices.virtio.console import Console

            self._console = Console(list(ports))
            found.append(self._console)
        if spec.rng:
            from popek.devices.virtio.rng import Rng

            found.append(Rng())
        if len(found) > VIRTIO_SLOTS:
            raise BadInput(f"{len(found)} devices do not fit", f"a machine has room for {VIRTIO_SLOTS}")
        places = []
        for i, device in enumerate(found):
            base, source = VIRTIO_BASE + i * VIRTIO_SIZE, VIRTIO_SOURCE + i
            lock = self._core.gate() if spec.check else None
            transport = mmio.Mmio(base, device, self._memory, Line(self._core.set_source, source), lock=lock)
            if spec.check:
                self._core.adopt(transport)
            self._closers.append(transport.close)
            bus.add(transport)
            places.append(Place("virtio", base, VIRTIO_SIZE, source))
        return places

    # -- running --

    def start(self) -> None:
        """Let the guest run; returns at once."""
        if self._core.threads_needed:
            for i in range(self.spec.harts):
                self._thread(f"hart{i}", self._run_hart, i)
            self._thread("timer", self._core.run_timers)
            if self._optimizes:
                self._thread("optimizing", self._core.run_manager)
        else:
            self._thread("harts", self._run_all)
        if self._sampler is not None:
            self._sampling = self._thread("sampler", self._sampler.run)
        self._thread("serial", self._serial)

    def watch(self, period: float, name_at: int = 0) -> Sampler:
        """Before the start: look every `period` seconds where the harts are and who called, once told to begin."""
        from popek.api.sampler import Sampler

        self._sampler = Sampler(self._core, self._memory, period, name_at)
        return self._sampler

    def seen(self) -> Seen:
        """What was seen how often, after the end of a machine that was watched."""
        assert self._sampler is not None
        self._sampler.end()
        if self._sampling is not None:
            self._sampling.join()
        return self._sampler.seen()

    def _thread(self, name: str, function: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _run_hart(self, i: int) -> None:
        try:
            self._core.run_hart(i)
        except BaseException as error:  # a defect of ours: the machine must not hang on it
            self._fail(error)
        with self._input_lock:
            self._harts_running -= 1
            last = self._harts_running == 0
        if last:
            self._end_sampler()
            self._core.close_output()
            if self._optimizes:
                self._core.end_manager()

    def _run_all(self) -> None:
        try:
            self._core.run_all()
        except BaseException as error:
            self._fail(error)
        self._end_sampler()
        self._core.close_output()

    def _end_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.end()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._core.stop()

    def _serial(self) -> None:
        """The thread between the serial line's rings and the outside; ends after the last byte of output."""
        buffer = bytearray(CHUNK)
        import ctypes

        place = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        open_end = self._serial_out != -1
        while (n := self._core.take_output(place, CHUNK)) >= 0:
            if n and open_end:
                try:
                    self._put_out(bytes(memoryview(buffer)[:n]))
                except BaseException as error:
                    open_end = False
                    self._fail(error)
            self._push_input()
        self._ended.set()
        os.eventfd_write(self.done, 1)

    def _put_out(self, data: bytes) -> None:
        if callable(self._serial_out):
            self._serial_out(data)
            return
        rest = memoryview(data)
        poll = select.poll()
        poll.register(self._serial_out, select.POLLOUT)
        while rest:
            if not poll.poll(PATIENCE):
                if self._stopping:  # nobody reads, and nobody wants to wait for it
                    return
                continue
            try:
                rest = rest[os.write(self._serial_out, rest[:PIPE_PORTION]) :]
            except BlockingIOError:
                continue

    def serial_input(self, data: bytes) -> int:
        """Type into the guest's serial line; everything is taken, and waits here while the guest is slow."""
        with self._input_lock:
            self._input += data
        self._push_input()
        return len(data)

    def serial_backlog(self) -> int:
        """Bytes typed that the guest's serial line had no room for yet."""
        return len(self._input)

    def _push_input(self) -> None:
        with self._input_lock:
            while self._input:
                n = self._core.give_input(bytes(self._input[:CHUNK]))
                if not n:
                    break
                del self._input[:n]

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest's console its new size."""
        if self._console is not None:
            self._console.resize(columns, rows)

    def stop(self) -> None:
        """End the machine; any thread, any number of times. Its outcome is "stopped" unless it ended before."""
        self._stopping = True
        self._core.stop()

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """How it ended, once all its output has been written; None after `timeout` seconds. Raises what broke it."""
        if not self._ended.wait(timeout):
            return None
        if self._failure is not None:
            raise self._failure
        kind, code = self._core.outcome()
        return Outcome(KINDS[kind], code)

    def run(self) -> Outcome:
        """Start, wait, return how it ended; Ctrl-C stops the machine and goes through."""
        self.start()
        try:
            outcome = self.wait()
        except KeyboardInterrupt:
            self.stop()
            raise
        assert outcome is not None
        return outcome

    def stats(self) -> dict[str, Any]:
        """What the harts did: processor time, instructions, and stops by cause. Exact once the machine has ended."""
        from popek.vmm.stops import STOP_NAMES

        harts = []
        for retired, stops in self._core.counters():
            named = {STOP_NAMES.get(i, f"cause_{i}"): n for i, n in enumerate(stops) if n}
            harts.append({"instructions": retired, "stops": named})
        spent = self._core.hart_seconds()
        return {"engine": self.engine, "checked": self.spec.check, "seconds": spent, "harts": harts}

    def measure(self) -> None:
        """Before the start: measure also what costs time to be measured."""
        measure = getattr(self._core, "measure", None)
        if measure is not None:
            measure()

    def counters(self) -> dict[str, Any]:
        """What the engines counted, by name; nothing on engines that count nothing."""
        count = getattr(self._core, "engine_statistics", dict)
        return dict(count())

    def cached(self) -> dict[str, Any]:
        """What the caches of compiled code had; nothing on engines that compile nothing."""
        count = getattr(self._core, "cache_statistics", dict)
        return dict(count())

    def agreement(self) -> str:
        """Of a machine that was checked and has ended: what was compared."""
        return str(self._core.summary()) if self.spec.check else ""

    # -- the end --

    def close(self) -> None:
        """Stop if it still runs, end all threads, free everything. Raises nothing about the guest."""
        self.end()
        self._give_back()

    def end(self) -> None:
        """Stop if it still runs, end all threads: what was counted is exact then."""
        if self._threads:
            self.stop()
            for thread in self._threads:
                thread.join()
            self._threads.clear()

    def _give_back(self) -> None:
        errors: list[PopekError] = []
        while self._closers:
            try:
                self._closers.pop()()
            except PopekError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
