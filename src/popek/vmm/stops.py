"""Why a hart stopped running guest code, as the dispatcher counts it: numbers, and what they are called.

No behaviour, and no import of the typed subset: who prints statistics needs nothing else of the monitor.
"""
from __future__ import annotations

# Exception n is n, interrupt n is FIRST_INTERRUPT + n.
FIRST_INTERRUPT = 16
STOP_SBI, STOP_SIMULATED, STOP_WAIT, STOP_DEVICE, STOP_HOST_DEVICE, STOP_FENCE, STOP_STATE = 32, 33, 34, 35, 36, 37, 38
STOPS = 40

#: For people.
STOP_NAMES: dict[int, str] = {
    0: "instruction_misaligned", 1: "instruction_access_fault", 2: "illegal_instruction", 3: "breakpoint",
    4: "load_misaligned", 5: "load_access_fault", 6: "store_misaligned", 7: "store_access_fault", 8: "ecall_user",
    9: "ecall_supervisor", 11: "ecall_machine", 12: "instruction_page_fault", 13: "load_page_fault",
    15: "store_page_fault",
    **{FIRST_INTERRUPT + n: name for n, name in (
        (1, "supervisor_software_interrupt"), (3, "machine_software_interrupt"), (5, "supervisor_timer_interrupt"),
        (7, "machine_timer_interrupt"), (9, "supervisor_external_interrupt"), (11, "machine_external_interrupt"))},
    STOP_SBI: "sbi_call", STOP_SIMULATED: "simulated_instruction", STOP_WAIT: "wait_for_interrupt",
    STOP_DEVICE: "device", STOP_HOST_DEVICE: "host_device", STOP_FENCE: "remote_fence", STOP_STATE: "hart_state",
}  # fmt: skip
