"""LLVM IR text -> relocatable object file, through llvmlite. The only place (with its workers) that imports llvmlite.

`python -m popek.lang.compiler OPT VECTORIZE EXPORTS` is a worker: IR text on standard input, an object file on
standard output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SMALL = 50  # LLVM's cost of a function that is still inlined, where size matters (225 else)


class CompileError(Exception):
    """LLVM did not accept the IR, or a worker process died."""


def _target(llvm: Any, opt: int, triple: str = "") -> Any:
    """Code generator for this host's CPU, or for a plain one of another architecture."""
    if triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        features = "+m,+a,+c" if triple.startswith("riscv64") else ""
        other = llvm.Target.from_triple(triple)
        return other.create_target_machine(features=features, opt=opt, reloc="pic", codemodel="default")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=opt, reloc="pic", codemodel="default"
    )


def compile_ir(
    text: str, opt: int = 2, exports: Sequence[str] = (), triple: str = "", vectorize: bool = False
) -> bytes:
    """Optimize and compile one module in this process, for this host or for another architecture.

    `exports` are internal functions to make visible outside. `vectorize`: make vector code of loops, and of
    everything else as little code as possible: there are many such loops.
    """
    import llvmlite.binding as llvm

    machine = _target(llvm, opt, triple)
    try:
        module = llvm.parse_assembly(text)
        for name in exports:
            try:
                module.get_function(name).linkage = "external"
            except NameError:
                pass  # in another module of this build
        module.verify()
    except RuntimeError as error:
        raise CompileError(str(error)) from None
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    if opt:
        tuning = llvm.create_pipeline_tuning_options(speed_level=opt)
        tuning.loop_vectorization = vectorize
        tuning.slp_vectorization = False
        if vectorize:
            tuning.loop_interleaving = tuning.loop_unrolling = False
            tuning.inlining_threshold = SMALL
        builder = llvm.create_pass_builder(machine, tuning)
        passes = builder.getModulePassManager()
        passes.run(module, builder)
    return machine.emit_object(module)


def compile_all(
    texts: Sequence[str], opt: int = 2, exports: Sequence[str] = (), vectorize: bool = False
) -> list[bytes]:
    """Compile several modules, each but the first in a process of its own, all at the same time."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "popek.lang.compiler", str(opt), str(int(vectorize)), *exports]
    workers = []
    for _ in texts[1:]:
        workers.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
            )
        )
    try:
        for worker, text in zip(workers, texts[1:], strict=True):
            assert worker.stdin is not None
            worker.stdin.write(text.encode())
            worker.stdin.close()
        objects = [compile_ir(texts[0], opt, exports, vectorize=vectorize)]
        for worker in workers:
            assert worker.stdout is not None
            objects.append(worker.stdout.read())
            if worker.wait() != 0:
                raise CompileError("a compiler process failed")
        return objects
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


if __name__ == "__main__":
    opt, vectorize, *exports = sys.argv[1:]
    sys.stdout.buffer.write(compile_ir(sys.stdin.read(), int(opt), exports, vectorize=vectorize == "1"))
