"""Fixed-width arithmetic on Python integers: wrap, sign-extend, bit fields. Pure functions; no types of the subset."""


def mask(bits: int) -> int:
    """The integer with the low `bits` bits set."""
    return (1 << bits) - 1


def wrap(value: int, bits: int) -> int:
    """`value` modulo 2**bits, as an unsigned number."""
    return value & ((1 << bits) - 1)


def wrap_signed(value: int, bits: int) -> int:
    """`value` modulo 2**bits, as a two's complement signed number."""
    sign = 1 << (bits - 1)
    return ((value & ((1 << bits) - 1)) ^ sign) - sign


def sign_extend(value: int, bits: int, to: int = 64) -> int:
    """Take the low `bits` of `value` as signed and return them as an unsigned number of `to` bits."""
    return wrap_signed(value, bits) & ((1 << to) - 1)


def bit(value: int, index: int) -> int:
    """Bit `index` of `value`: 0 or 1."""
    return (value >> index) & 1


def field(value: int, high: int, low: int) -> int:
    """Bits `high` down to `low` (both included) of `value`, shifted down to bit 0."""
    return (value >> low) & ((1 << (high - low + 1)) - 1)


def insert(value: int, high: int, low: int, bits: int) -> int:
    """`value` with bits `high` down to `low` replaced by the low bits of `bits`."""
    hole = ((1 << (high - low + 1)) - 1) << low
    return (value & ~hole) | ((bits << low) & hole)


def align_down(value: int, alignment: int) -> int:
    """The greatest multiple of `alignment` (a power of two) not above `value`."""
    return value & -alignment


def align_up(value: int, alignment: int) -> int:
    """The least multiple of `alignment` (a power of two) not below `value`."""
    return (value + alignment - 1) & -alignment
