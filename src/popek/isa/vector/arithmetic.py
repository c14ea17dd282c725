"""All vector arithmetic as one list of operations. Nothing else."""
from __future__ import annotations

from popek.isa.vector import fixed, float, float_convert, integer, mask, moves, permute, reduce, widening

OPS = (*integer.OPS, *widening.OPS, *fixed.OPS, *float.OPS, *float_convert.OPS, *reduce.OPS, *mask.OPS,
       *moves.OPS, *permute.OPS)
