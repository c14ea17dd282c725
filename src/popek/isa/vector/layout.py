"""Where a hart's vector registers are, and the scratch memory beside them, from the address in Hart.vector. No code.

Raw memory, so that plain Python and native code reach an element of any width in the same way.
"""
from __future__ import annotations

VLEN_BYTES = 32        # Unprivileged ISA, "V", "Implementation-defined Constant Parameters"
GROUP = 8 * VLEN_BYTES

RESULT = 32 * VLEN_BYTES           # what an instruction computes, before it is kept where active
SPLAT = RESULT + GROUP             # a scalar operand, repeated
ACTIVE = SPLAT + GROUP             # one byte an element
CARRY = ACTIVE + GROUP             # the mask's bits as bytes
SIZE = CARRY + GROUP

VILL = 1 << 63                     # of vtype
