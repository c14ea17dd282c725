"""What a hart does for the optimizing engine at poll points: note where it is, install, describe code around a pc."""

from __future__ import annotations

from popek.engine.template.layout import Cache
from popek.isa.hart import Hart
from popek.lang import atomic_store, fn


@fn
def tend(h: Hart, c: Cache) -> None:
    """At a poll point, h.pc being where the hart goes on: do what the manager asked for."""
    atomic_store(c.optimizing.asked, 0)
