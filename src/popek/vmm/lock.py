"""A spin lock for a few instructions' worth of work. Holders must not wait for anything."""
from __future__ import annotations

from popek.lang import atomic_cas, atomic_load, atomic_store, fn, spin_hint, u64
from popek.vmm.port import give_way
from popek.vmm.vm import Lock


@fn
def acquire(lock: Lock) -> None:
    """Take the lock; its holder may have lost its processor, so do not spin long."""
    tries: u64 = 0
    while not atomic_cas(lock.word, 0, 1):
        while atomic_load(lock.word) != 0:
            tries += 1
            if tries & 63 == 0:
                give_way()
            else:
                spin_hint()


@fn
def release(lock: Lock) -> None:
    """Give it back."""
    atomic_store(lock.word, 0)
