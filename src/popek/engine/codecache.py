"""The code cache that lasts: compiled regions of all machines and processes of a user, found by the code of a guest.

    popek/regions/FINGERPRINT/TIME-PID-N.seg  one segment (segment.py), written whole and never changed
    popek/regions/lock                        held while segments are merged and forgotten (cachehouse.py)

Every process writes segments of its own, so writers never meet. A segment is of use when it was last made or found in
(its modification time); beyond the limit those of no use for the longest time go, whoever's fingerprint they have. What
cannot be trusted, read or written costs time and nothing else. What an image holds is optimizing.image's concern.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from popek.base import private
from popek.engine.segment import HEAD, LARGEST, PLACE, Damaged, Record, Segment, is_segment, key, pack

LIMIT = 64 << 20  # bytes on the disk
IN_MEMORY = 16 << 20  # bytes, if nothing can be written
FEW = 8  # small segments are merged beyond that number
CANDIDATES = 4  # images kept for one beginning
FLUSH_BYTES, FLUSH_SECONDS = 1 << 20, 20.0  # additions are written when they are so many, or so old
LOOK_SECONDS, TOUCH_SECONDS = 1.0, 60.0


def limit_of_user(default: int = LIMIT) -> int:
    """Bytes that the user allows: POPEK_CACHE_SIZE, in MiB."""
    text = os.environ.get("POPEK_CACHE_SIZE", "")
    return int(text) << 20 if text.isdecimal() else default


class CodeCache:
    """One machine's way to the cache. All methods may be called from any thread, and none raises."""

    def __init__(self, fingerprint: str, warn: Callable[[str], None] | None = None, limit: int | None = None) -> None:
        self.fingerprint = fingerprint
        self.hits = self.misses = self.added = 0
        self._limit = limit_of_user() if limit is None else limit
        self._secret = fingerprint.encode()[:64]
        self._warn = warn
        self._lock = threading.RLock()
        self._folder = -1  # not looked for yet, or there is none
        self._keeps = self._limit > 0  # as far as is known, the disk can be used
        self._writes = self._keeps
        self._closed = False
        self._looked = -LOOK_SECONDS
        self._segments: dict[str, Segment] = {}
        self._refused: set[str] = set()
        self._new: dict[int, list[Record]] = {}  # not on the disk
        self._new_bytes = 0
        self._new_since = 0.0
        self._number = 0
        self._sizes: list[int] = []  # of segments, when it was closed

    @classmethod
    def open(cls, fingerprint: str, warn: Callable[[str], None] | None = None, limit: int | None = None) -> CodeCache:
        """The cache for code that the engine of this fingerprint made. `warn` hears of trouble, once.

        Costs nothing before the first `find` or `add`.
        """
        return cls(fingerprint, warn, limit)

    # -- finding --

    def find(self, offset: int, head: bytes) -> list[bytes]:
        """Images of regions that begin at `offset` of a page with bytes of `head`, the newest first.

        `head`: HEAD bytes of guest code, or less at the end of a page. Each image is intact; whether the guest's other
        bytes are those that it was made from is for the caller to see.
        """
        with self._lock:
            self._look()
            found = self._matching(offset, bytes(head[:HEAD]))
            if found:
                self.hits += 1
            else:
                self.misses += 1
        return found[:CANDIDATES]

    def _matching(self, offset: int, head: bytes) -> list[bytes]:
        if len(head) < 2:
            return []
        new = reversed(self._new.get(key(offset, head), ()))
        found = [record.image for record in new if head.startswith(record.head)]
        for name in sorted(self._segments, reverse=True):
            segment = self._segments[name]
            try:
                here = segment.find(offset, head)
            except Damaged as error:
                self._forget(segment, error)
                continue
            if here:
                found += [record.image for record in reversed(here)]
                self._touch(segment)
        return found

    def _touch(self, segment: Segment) -> None:
        now = time.monotonic()
        if now - segment.touched > TOUCH_SECONDS:
            segment.touched = now
            try:
                os.utime(segment.name, dir_fd=self._folder, follow_symlinks=False)
            except OSError:  # read-only, or another process removed it
                pass

    def _look(self) -> None:
        """See which segments there are now."""
        now = time.monotonic()
        if not self._keeps or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        if self._folder < 0 and not self._enter():
            return
        try:
            names = {name for name in os.listdir(self._folder) if is_segment(name)}
        except OSError:
            names = set()
        for name in self._segments.keys() - names:
            self._segments.pop(name).close()
        for name in names - self._segments.keys() - self._refused:
            self._admit(name)

    def _enter(self) -> bool:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        try:
            self._folder = private.folder(*PLACE, self.fingerprint)
        except private.NotOurs as error:
            self._keeps = self._writes = False
            self._complain(f"{error}; regions are not kept")
        return self._keeps

    def _admit(self, name: str) -> None:
        try:
            self._segments[name] = Segment(self._folder, name, self._secret)
        except FileNotFoundError:  # another process has just merged it
            pass
        except (Damaged, private.NotOurs, OSError, ValueError) as error:
            self._refused.add(name)
            if isinstance(error, Damaged):
                private.remove(self._folder, name)
            self._complain(f"{self._path(name)}: {error}; not used")

    def _forget(self, segment: Segment, error: Exception) -> None:
        self._complain(f"{self._path(segment.name)}: {error}; not used")
        self._segments.pop(segment.name).close()
        private.remove(self._folder, segment.name)

    def _path(self, *names: str) -> str:
        return private.path(*PLACE, self.fingerprint, *names)

    def _complain(self, text: str) -> None:
        if self._warn is not None:
            warn, self._warn = self._warn, None
            warn(f"cache of compiled code: {text}")

    # -- keeping --

    def add(self, image: bytes) -> None:
        """Keep a region image."""
        from popek.engine.optimizing.image import beginning

        try:
            offset, head = beginning(image, HEAD)
        except ValueError:
            return
        if len(image) > LARGEST or len(head) < 2:
            return
        with self._lock:
            self._look()
            if self._closed or image in self._matching(offset, head):
                return
            self.added += 1
            self._new.setdefault(key(offset, head), []).append(Record(offset, head, bytes(image)))
            now = time.monotonic()
            if not self._new_bytes:
                self._new_since = now
            self._new_bytes += len(image)
            if self._new_bytes >= FLUSH_BYTES or now - self._new_since > FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write what was added to the disk."""
        with self._lock:
            if not self._new:
                return
            if self._writes and self._write([record for records in self._new.values() for record in records]):
                from popek.engine import cachehouse

                self._new, self._new_bytes = {}, 0
                try:
                    cachehouse.keep(self._limit, self._merge)
                except (OSError, private.NotOurs):  # another time, or another process
                    pass
            elif self._new_bytes > IN_MEMORY:
                self._new, self._new_bytes = {}, 0

    def _write(self, records: list[Record]) -> bool:
        """Make a segment of records; False if that is not possible."""
        self._number += 1
        name = f"{time.time_ns():016x}-{os.getpid()}-{self._number}.seg"
        data = pack(self._secret, records)
        try:
            try:
                private.write(self._folder, name, data)
            except FileNotFoundError:  # somebody removed the folder
                if not self._enter():
                    return False
                private.write(self._folder, name, data)
        except OSError as error:
            self._writes = False
            self._complain(f"{self._path()}: {error.strerror or error}; new regions are not kept")
            return False
        self._admit(name)
        return True

    def _merge(self) -> None:
        """Make one segment of the small ones, without what is there twice or too often."""
        self._looked = -LOOK_SECONDS
        self._look()
        small = sorted(s.name for s in self._segments.values() if s.size < self._limit // 8)
        if len(small) <= FEW:
            return
        kept: dict[tuple[int, bytes], list[Record]] = {}
        merged: list[Segment] = []
        for name in reversed(small):
            segment = self._segments[name]
            if sum(s.size for s in merged) + segment.size > self._limit // 4:
                break
            merged.append(segment)
            try:
                for record in reversed(list(segment.records())):
                    same = kept.setdefault((record.offset, record.head), [])
                    if record not in same and len(same) < CANDIDATES:
                        same.append(record)
            except Damaged as error:
                self._complain(f"{self._path(name)}: {error}; not used")
        if self._write([record for same in kept.values() for record in reversed(same)]):
            for segment in merged:
                self._segments.pop(segment.name).close()
                private.remove(self._folder, segment.name)

    # -- the rest --

    def statistics(self) -> dict[str, int]:
        """Counted since it was opened, and what it has, or had when it was closed, in sight."""
        with self._lock:
            counted = {"hits": self.hits, "misses": self.misses, "added": self.added}
            sizes = [segment.size for segment in self._segments.values()] or self._sizes
            return {**counted, "segments": len(sizes), "bytes": sum(sizes)}

    def close(self) -> None:
        """Flush and let go; nothing is found or kept afterwards."""
        with self._lock:
            self.flush()
            self._keeps = self._writes = False
            self._closed = True
            self._new, self._new_bytes = {}, 0
            self._sizes = [segment.size for segment in self._segments.values()] or self._sizes
            for segment in self._segments.values():
                segment.close()
            self._segments = {}
            if self._folder >= 0:
                os.close(self._folder)
                self._folder = -1
