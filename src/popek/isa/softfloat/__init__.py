"""IEEE 754 binary arithmetic in integers, for every width at once. No instruction and no NaN-boxing in its modules.

A format is two numbers: `eb`, the width of the exponent field, and `fb`, the width of the fraction field (binary32: 8,
23; binary64: 11, 52). Every function takes them, so nothing is written twice; a number is its bits in a u64. The
choices IEEE 754 leaves open are RISC-V's (Unprivileged ISA, chapter "F"): one canonical NaN as every NaN result, and
tininess detected after rounding. Flags are ORed into `h.fflags`.

Between taking a number apart and putting it together, a finite nonzero magnitude is significand * 2**(exponent - 63),
the significand having bit 63 set: subnormals need no care inside the operations.
"""
