"""The supervisor's calls, as one table that says what each is and how far it is supported. RISC-V SBI 3.0.

A handler reads its arguments from a0..a5 and returns the error code; a value it puts into h.x[11]. What a
call asks of the monitor is a port (sbi_port); numbers are sbi_numbers'. Adding a call is one function and one row.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from popek.abi import sbi_port as monitor
from popek.abi.sbi_numbers import (
    ALREADY_AVAILABLE,
    BASE,
    DBCN,
    FAILED,
    HSM,
    INVALID_ADDRESS,
    INVALID_PARAM,
    IPI,
    LEGACY_GETCHAR,
    LEGACY_PUTCHAR,
    LEGACY_SHUTDOWN,
    NOT_SUPPORTED,
    OK,
    RFENCE,
    SPECIFICATION,
    SRST,
    TIME,
)
from popek.isa.generate import Case, bisect
from popek.isa.hart import Hart
from popek.lang import fn, source_fn, u8, u64

IMPLEMENTATION = 0x506F_7065_6B  # "Popek": SBI keeps no number for us
VERSION = 1
ALL_HARTS = (1 << 64) - 1


# -- base --


@fn
def get_spec_version(h: Hart) -> u64:
    h.x[11] = SPECIFICATION
    return OK


@fn
def get_impl_id(h: Hart) -> u64:
    h.x[11] = IMPLEMENTATION
    return OK


@fn
def get_impl_version(h: Hart) -> u64:
    h.x[11] = VERSION
    return OK


@fn
def probe_extension(h: Hart) -> u64:
    h.x[11] = known_extension(h.x[10])
    return OK


@fn
def get_zero(h: Hart) -> u64:
    """mvendorid, marchid, mimpid: what the hart's own registers say."""
    h.x[11] = 0
    return OK


# -- time, interrupts, fences --


@fn
def set_timer(h: Hart) -> u64:
    monitor.set_timer(h, h.x[10])
    return OK


@fn
def harts_meant(h: Hart) -> u64:
    """The mask of harts of a hart_mask, hart_mask_base pair in a0, a1; 0 when it names one that does not exist."""
    every = (u64(1) << monitor.hart_count(h)) - 1
    mask, base = h.x[10], h.x[11]
    if base == ALL_HARTS:
        return every
    if base >= 64 or mask << base >> base != mask or mask << base & ~every != 0:
        return 0
    return mask << base


@fn
def nobody_meant(h: Hart) -> u64:
    """What `harts_meant` == 0 means: an empty mask is right, a hart that does not exist is not."""
    if h.x[10] == 0:
        return OK
    return INVALID_PARAM


@fn
def send_ipi(h: Hart) -> u64:
    harts = harts_meant(h)
    if harts == 0:
        return nobody_meant(h)
    monitor.send_ipi(h, harts)
    return OK


@fn
def remote_fence_i(h: Hart) -> u64:
    harts = harts_meant(h)
    if harts == 0:
        return nobody_meant(h)
    monitor.remote_fence_i(h, harts)
    return OK


@fn
def remote_sfence_vma(h: Hart) -> u64:
    harts = harts_meant(h)
    if harts == 0:
        return nobody_meant(h)
    monitor.remote_sfence(h, harts, h.x[12], h.x[13])
    return OK


@fn
def remote_sfence_vma_asid(h: Hart) -> u64:
    harts = harts_meant(h)
    if harts == 0:
        return nobody_meant(h)
    monitor.remote_sfence_asid(h, harts, h.x[12], h.x[13], h.x[14])
    return OK


# -- harts --


@fn
def hart_start(h: Hart) -> u64:
    if h.x[10] >= monitor.hart_count(h):
        return INVALID_PARAM
    if not monitor.is_ram(h, h.x[11] & ~1, 2):
        return INVALID_ADDRESS
    if not monitor.hart_start(h, h.x[10], h.x[11] & ~1, h.x[12]):
        return ALREADY_AVAILABLE
    return OK


@fn
def hart_stop(h: Hart) -> u64:
    """Does not return to the guest: the hart parks at the next poll point."""
    monitor.hart_stop(h)
    return OK


@fn
def hart_get_status(h: Hart) -> u64:
    if h.x[10] >= monitor.hart_count(h):
        return INVALID_PARAM
    h.x[11] = monitor.hart_status(h, h.x[10])
    return OK


@fn
def hart_suspend(h: Hart) -> None:
    kind = h.x[10] & 0xFFFF_FFFF
    pc, argument = h.x[11] & ~1, h.x[12]
    h.x[11] = 0
    if kind & 0x7FFF_FFFF != 0:
        h.x[10] = INVALID_PARAM
    elif kind != 0 and not monitor.is_ram(h, pc, 2):
        h.x[10] = INVALID_ADDRESS
    else:
        h.x[10] = OK
        monitor.hart_suspend(h)
        if kind != 0:
            monitor.hart_resume(h, pc, argument)


# -- reset, console --


@fn
def system_reset(h: Hart) -> u64:
    kind, reason = h.x[10] & 0xFFFF_FFFF, h.x[11] & 0xFFFF_FFFF
    if kind > 2 or reason > 1:
        return INVALID_PARAM
    monitor.system_reset(h, kind, reason)
    return OK


@fn
def console_write(h: Hart) -> u64:
    count, place = h.x[10], h.x[11]
    if h.x[12] != 0 or not monitor.is_ram(h, place, count):
        return INVALID_PARAM
    h.x[11] = monitor.console_write(h, place, count)
    return OK


@fn
def console_read(h: Hart) -> u64:
    count, place = h.x[10], h.x[11]
    if h.x[12] != 0 or not monitor.is_ram(h, place, count):
        return INVALID_PARAM
    h.x[11] = monitor.console_read(h, place, count)
    return OK


@fn
def console_write_byte(h: Hart) -> u64:
    monitor.console_put(h, u8(h.x[10]))
    return OK


@fn
def legacy_putchar(h: Hart) -> u64:
    monitor.console_put(h, u8(h.x[10]))
    return OK


@fn
def legacy_getchar(h: Hart) -> u64:
    return monitor.console_get(h)


@fn
def legacy_shutdown(h: Hart) -> u64:
    monitor.system_reset(h, 0, 0)
    return FAILED


@dataclass(frozen=True)
class Call:
    """One row: the call, who handles it, and what there is to know about how far it is supported."""

    extension: int
    function: int
    name: str
    handler: Callable[[Hart], int | None]
    result: str = "error"  # in a0 only; "value": one in a1 too; "own": the handler sets both; "legacy": a0 is it
    support: str = "full"


#: Every call that exists. Extensions without a row probe as absent: PMU, SUSP, NACL, STA, SSE, FWFT, DBTR, MPXY.
CALLS = (
    Call(BASE, 0, "get_spec_version", get_spec_version, "value"),
    Call(BASE, 1, "get_impl_id", get_impl_id, "value"),
    Call(BASE, 2, "get_impl_version", get_impl_version, "value"),
    Call(BASE, 3, "probe_extension", probe_extension, "value"),
    Call(BASE, 4, "get_mvendorid", get_zero, "value"),
    Call(BASE, 5, "get_marchid", get_zero, "value"),
    Call(BASE, 6, "get_mimpid", get_zero, "value"),
    Call(TIME, 0, "set_timer", set_timer),
    Call(IPI, 0, "send_ipi", send_ipi),
    Call(RFENCE, 0, "remote_fence_i", remote_fence_i),
    Call(RFENCE, 1, "remote_sfence_vma", remote_sfence_vma),
    Call(RFENCE, 2, "remote_sfence_vma_asid", remote_sfence_vma_asid),
    Call(HSM, 0, "hart_start", hart_start),
    Call(HSM, 1, "hart_stop", hart_stop),
    Call(HSM, 2, "hart_get_status", hart_get_status, "value"),
    Call(HSM, 3, "hart_suspend", hart_suspend, "own", "the two default types; platform types do not exist"),
    Call(SRST, 0, "system_reset", system_reset, "error", "all standard types; a warm reset is a cold one"),
    Call(DBCN, 0, "console_write", console_write, "value"),
    Call(DBCN, 1, "console_read", console_read, "value"),
    Call(DBCN, 2, "console_write_byte", console_write_byte),
    Call(LEGACY_PUTCHAR, 0, "legacy_console_putchar", legacy_putchar, "legacy"),
    Call(LEGACY_GETCHAR, 0, "legacy_console_getchar", legacy_getchar, "legacy"),
    Call(LEGACY_SHUTDOWN, 0, "legacy_shutdown", legacy_shutdown, "legacy"),
)
_FIRST_STANDARD = 0x10


def _probe_source() -> str:
    """Source of known_extension(e): 1 if there is a row of it."""
    cases = [Case(e, e, ("return 1",)) for e in sorted({call.extension for call in CALLS})]
    return "\n".join(["def known_extension(e: u64) -> u64:", *bisect("e", cases, ["pass"]), "    return 0"])


def _call_source() -> str:
    """Source of call(h): extension in a7, function in a6. Legacy calls have no function and leave a1 alone."""
    lines = ["def call(h: Hart) -> None:", "    e = h.x[17]", "    f = h.x[16]", f"    error: u64 = {NOT_SUPPORTED}"]
    cases = []
    for extension in sorted({call.extension for call in CALLS}):
        rows = [call for call in CALLS if call.extension == extension]
        if extension < _FIRST_STANDARD:
            cases.append(Case(extension, extension, _finish(rows[0])))
            continue
        functions = [Case(row.function, row.function, _finish(row)) for row in rows]
        cases.append(Case(extension, extension, tuple(bisect("f", functions, ["pass"], 0))))
    return "\n".join([*lines, *bisect("e", cases, ["pass"]), "    h.x[10] = error", "    h.x[11] = 0"])


def _finish(row: Call) -> tuple[str, ...]:
    """Call a handler and put its results where the row says."""
    match row.result:
        case "error":
            return (f"error = {row.name}(h)",)
        case "value":
            return (f"error = {row.name}(h)", f"if error == {OK}:", "    h.x[10] = error", "    return")
        case "legacy":
            return (f"h.x[10] = {row.name}(h)", "return")
    return (f"{row.name}(h)", "return")


_SCOPE: dict[str, Any] = {"__name__": __name__, "Hart": Hart, "u64": u64}
known_extension = source_fn("known_extension", _probe_source(), _SCOPE)
call = source_fn("call", _call_source(), {**_SCOPE, **{row.name: row.handler for row in CALLS}})
