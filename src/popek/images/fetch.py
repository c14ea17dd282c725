"""Files over HTTP into verified files on disk: retries, resumption, proxies. What the files mean is not known here.

A file gets its name only when its size and SHA-256 are what the caller was promised; until then it is `NAME.part`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO

from popek.images import mirror
from popek.images.errors import HashMismatch, NetworkError, NotOnMirror, host_file

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

TRIES = 3  # connections that break off
BLOCK = 1 << 16
ADVICE = f"check the network, or set {mirror.VARIABLE} to another mirror"


@dataclass(frozen=True, slots=True)
class Promise:
    """What a signed list says of a file."""

    size: int
    sha256: str


class Http:
    """Connections to one mirror, through the proxy apt would use."""

    def __init__(self, base: str, timeout: float = 30.0, proxy: str | None = None) -> None:
        import urllib3

        self.base = base.rstrip("/")
        settings: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=min(timeout, 15.0), read=timeout),
            "retries": urllib3.Retry(connect=1, read=0, redirect=5, status=0, other=0, backoff_factor=0.2),
            "maxsize": 4,
            "headers": {"User-Agent": "popek", "Accept-Encoding": "identity"},
        }
        via = proxy if proxy is not None else mirror.proxy(self.base)
        self.pool = urllib3.ProxyManager(via, **settings) if via else urllib3.PoolManager(**settings)
        self.stop = Event()

    def close(self) -> None:
        """Let every transfer under way end soon."""
        self.stop.set()
        self.pool.clear()

    def read(self, path: str, limit: int, fresh: bool = False) -> bytes:
        """A small file in memory; more than `limit` bytes are refused."""
        problem: Exception | None = None
        for _ in range(TRIES):
            parts: list[bytes] = []
            try:
                self._receive(path, 0, parts.append, limit, fresh)
                return b"".join(parts)
            except _BrokenOff as error:
                problem = error
        raise NetworkError(f"{self.base}/{path}: {problem}", ADVICE)

    def save(
        self,
        path: str,
        target: Path,
        promise: Promise,
        seen: Callable[[int], None] = lambda _: None,
        fresh: bool = False,
    ) -> Path:
        """`path` of the mirror as `target`, which exists only with the promised content.

        A transfer that broke off, even in an earlier run, goes on where it was; one process fetches for all that want
        the same file; a wrong content is discarded and asked for once more.
        """
        with host_file(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            with _locked(part, target, self.stop) as out:
                if out is None:  # somebody else has fetched it meanwhile
                    return target
                kept = out.seek(0, os.SEEK_END) > 0
                for left in (2, 1, 0) if kept else (1, 0):
                    try:
                        self._fill(path, out, promise, seen, fresh)
                        break
                    except HashMismatch:
                        out.truncate(0)
                        fresh = True
                        if not left:
                            part.unlink(missing_ok=True)
                            raise
                os.replace(part, target)
        return target

    def _fill(self, path: str, out: BinaryIO, promise: Promise, seen: Callable[[int], None], fresh: bool) -> None:
        """Complete `out`, which may hold a beginning already, and check the whole."""
        digest = hashlib.sha256()
        have = 0

        def count(block: bytes) -> None:
            nonlocal have
            digest.update(block)
            have += len(block)
            seen(have)

        def take(block: bytes) -> None:
            out.write(block)
            count(block)

        out.seek(0)
        while block := out.read(BLOCK):
            count(block)
        problem: Exception | None = None
        for _ in range(TRIES):
            try:
                if have < promise.size:
                    self._receive(path, have, take, promise.size, fresh, exact=True)
                break
            except _BrokenOff as error:
                problem = error
        else:
            raise NetworkError(f"{self.base}/{path}: {problem}", ADVICE)
        out.flush()
        if have != promise.size or digest.hexdigest() != promise.sha256:
            raise HashMismatch(
                f"{self.base}/{path} is not what the signed archive promises: {have} bytes of "
                f"{promise.size}, SHA-256 {digest.hexdigest()[:16]}…",
                f"a broken mirror or proxy; set {mirror.VARIABLE} to another mirror",
            )

    def _receive(
        self, path: str, start: int, take: Callable[[bytes], None], limit: int, fresh: bool, exact: bool = False
    ) -> None:
        """The bytes of `path` from `start` on, no more than `limit` in all, or `exact`ly as many."""
        import urllib3

        headers = dict(self.pool.headers)
        if start:
            headers["Range"] = f"bytes={start}-"
        if fresh:
            headers["Cache-Control"] = "no-cache"
        answer: BaseHTTPResponse | None = None
        try:
            answer = self.pool.request("GET", f"{self.base}/{path}", headers=headers, preload_content=False)
            if answer.status in (403, 404, 410):
                raise NotOnMirror(f"{self.base}/{path}: the mirror has no such file (HTTP {answer.status})", ADVICE)
            if answer.status not in (200, 206):
                raise _BrokenOff(f"HTTP status {answer.status}")
            skip = start if answer.status == 200 else 0
            length = answer.headers.get("Content-Length", "")
            if exact and length.isdigit() and int(length) != limit - start + skip:
                raise HashMismatch(f"{self.base}/{path} has {length} bytes, not the {limit} promised", ADVICE)
            received = start - skip
            for block in answer.stream(BLOCK):
                if self.stop.is_set():
                    raise NetworkError(f"{self.base}/{path}: stopped")
                received += len(block)
                if received > limit:
                    raise HashMismatch(f"{self.base}/{path} is longer than the {limit} bytes expected", ADVICE)
                dropped = min(skip, len(block))
                skip -= dropped
                take(block[dropped:])
            whole, answer = answer, None
            whole.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise _BrokenOff(_reason(error)) from error
        finally:
            if answer is not None:
                answer.close()


@contextmanager
def _locked(part: Path, target: Path, stop: Event) -> Iterator[BinaryIO | None]:
    """`part` opened by this process alone, or None if `target` is there once the lock is."""
    while True:
        with open(part, "a+b") as out:
            while True:
                try:
                    fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if stop.wait(0.1):
                        raise NetworkError(f"{target.name}: stopped") from None
            if target.exists():
                if part.exists() and os.path.samestat(os.fstat(out.fileno()), part.stat()):
                    part.unlink()
                yield None
                return
            try:
                same = os.path.samestat(os.fstat(out.fileno()), part.stat())
            except FileNotFoundError:
                same = False
            if same:
                yield out
                return


class _BrokenOff(Exception):
    """This connection failed; another may not."""


def _reason(error: Exception) -> str:
    """urllib3's nested errors, the innermost sentence."""
    inner: BaseException = error
    while (deeper := getattr(inner, "reason", None) or inner.__cause__) is not None:
        if not isinstance(deeper, BaseException):
            return str(deeper)
        inner = deeper
    text = getattr(inner, "strerror", None) or str(inner).rpartition("> ")[2].rpartition(">: ")[2]
    return text or type(inner).__name__
