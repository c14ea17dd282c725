"""The host's floating-point status: LLVM text that sets it up and gathers its flags. Nothing that computes."""
from __future__ import annotations

from popek.isa.fp_host import Made, features
from popek.isa.hart import Hart

#: MXCSR with all exceptions masked, rounding to nearest, no flushing to zero, no flag set (Intel SDM 1, "MXCSR").
DEFAULT_MXCSR = 0x1F80


def enter(symbol: str) -> Made:
    """MXCSR as the guest's arithmetic needs it."""
    if not features():
        return None
    return f"""define internal void @"{symbol}"(ptr %h) noinline nounwind strictfp {{
  %slot = alloca i32
  store i32 {DEFAULT_MXCSR}, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret void
}}
""", ["declare void @llvm.x86.sse.ldmxcsr(ptr)"]


def leave(symbol: str) -> Made:
    """MXCSR's flags into h.fflags, then cleared. x86: IE DE ZE OE UE PE from bit 0; RISC-V: NX UF OF DZ NV."""
    if not features():
        return None
    moves = "".join(f"""  %m{bit} = lshr i32 %x, {bit}
  %o{bit} = and i32 %m{bit}, 1
  %p{bit} = shl i32 %o{bit}, {to}
  %f{bit} = or i32 %f{before}, %p{bit}
""" for before, bit, to in (("", 0, 4), (0, 2, 3), (2, 3, 2), (3, 4, 1), (4, 5, 0)))
    return f"""define internal void @"{symbol}"(ptr %h) noinline nounwind strictfp {{
  %slot = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %x = load i32, ptr %slot
  %any = and i32 %x, 63
  %none = icmp eq i32 %any, 0
  br i1 %none, label %done, label %some
some:
  %flags = getelementptr i8, ptr %h, i64 {Hart.offset("fflags")}
  %f = load i32, ptr %flags
{moves}  store i32 %f5, ptr %flags
  %clear = and i32 %x, -64
  store i32 %clear, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  br label %done
done:
  ret void
}}
""", ["declare void @llvm.x86.sse.stmxcsr(ptr)", "declare void @llvm.x86.sse.ldmxcsr(ptr)"]
