"""LLVM IR text of templates -> relocatable objects, half of them in a second process.

LLVM calls of one process exclude each other, and a first start should be short.

Needs llvmlite and nothing of Popek's, so that the second process (`python -m popek.engine.template.compiler`: text on
standard input, object on standard output) starts fast.
"""

from __future__ import annotations

import sys
from typing import Any


def host_machine(opt: int, reloc: str) -> Any:
    """LLVM's code generator for this host, in the small code model."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=opt,
        reloc=reloc,
        codemodel="small",
    )


def simplified(text: str, machine: Any) -> Any:
    """The module of a text after inlining: the meanings of instructions are many small functions."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    module.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_register_to_memory_pass()  # splits {value, bail} pairs that meet in a phi, which SROA alone leaves whole
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()  # moves what only a store needs next to it: a double then stays one
    passes.run(module, builder)
    return module


def compile_text(text: str) -> bytes:
    """Compile templates: holes are 32-bit unless asked otherwise."""
    machine = host_machine(opt=2, reloc="static")
    return bytes(machine.emit_object(simplified(text, machine)))


def compile_both(first: str, second: str) -> tuple[bytes, bytes]:
    """Compile two texts at the same time. Raises ChildProcessError if the second process dies."""
    import os
    import subprocess
    from pathlib import Path

    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "popek.engine.template.compiler"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(second.encode())
        worker.stdin.close()
        made = compile_text(first)
        other = worker.stdout.read()
    if worker.returncode != 0:
        raise ChildProcessError("the second template compiler died")
    return made, other


if __name__ == "__main__":
    sys.stdout.buffer.write(compile_text(sys.stdin.read()))
