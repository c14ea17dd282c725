"""One release of the Debian archive: signed release file -> package list -> packages, each step verified.

The chain is that of apt-secure(8): a signature covers InRelease, InRelease holds the SHA-256 of the package list, the
list those of the packages. Which packages are wanted is decided elsewhere (resolve).
"""

from __future__ import annotations

import lzma
import re
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock

from popek.images import control, signature
from popek.images.errors import BadSignature, HashMismatch, ImageError, NetworkError, NotOnMirror
from popek.images.fetch import ADVICE, Http, Promise
from popek.images.progress import Progress, silent
from popek.images.resolve import Package

RELEASE_LIMIT = 4 << 20
INDEX_LIMIT = 512 << 20  # unpacked


@dataclass(frozen=True)
class Release:
    """A release file whose signature holds."""

    folder: str  # below the mirror's address: dists/trixie
    suite: str
    version: str
    by_hash: bool
    files: dict[str, Promise]


class Archive:
    """A mirror and a release of Debian on it; `pool` is where verified packages are kept."""

    def __init__(
        self,
        mirrors: Sequence[str],
        codename: str,
        architecture: str,
        pool: Path,
        progress: Progress = silent,
        keys: Iterable[bytes] | None = None,
        connect: Callable[[str], Http] = Http,
    ) -> None:
        self.mirrors = list(mirrors)
        self.codename = codename
        self.architecture = architecture
        self.pool = pool
        self.progress = progress
        self.keys = list(keys) if keys is not None else signature.archive_keys()
        self.connect = connect
        self.http: Http | None = None

    @property
    def address(self) -> str:
        """The mirror in use."""
        return self.http.base if self.http else ""

    def packages(self) -> tuple[Release, str]:
        """The first mirror's release file that is signed, and the package list it vouches for."""
        problem: ImageError | None = None
        for address in self.mirrors:
            self.http = self.connect(address)
            try:
                return self._packages()
            except (BadSignature, NotOnMirror, NetworkError, HashMismatch) as error:
                problem = problem or error
                self.http.close()
        assert problem is not None
        raise problem

    def _packages(self) -> tuple[Release, str]:
        """Of `dists/CODENAME`, or, where a cache serves a list that does not fit it, of the suite's own folder.

        A mirror in the middle of its update, or a proxy that keeps the two files for different times, has a release
        file and a list that do not belong together; the same archive under its other name often does.
        """
        release = self.release(f"dists/{self.codename}")
        try:
            return release, self._index(release)
        except (HashMismatch, NotOnMirror) as error:
            if release.suite in ("", self.codename):
                raise
            try:
                other = self.release(f"dists/{release.suite}")
                return other, self._index(other)
            except ImageError:
                raise error from None

    def release(self, folder: str) -> Release:
        """InRelease of `folder`, verified: signature, code name, and the date it is valid until, if it has one."""
        assert self.http is not None
        name = f"{self.http.base}/{folder}/InRelease"
        self.progress(f"reading {name}")
        text = signature.verified(self.http.read(f"{folder}/InRelease", RELEASE_LIMIT, fresh=True), self.keys, name)
        fields = control.fields(text)
        if fields.get("Codename") != self.codename:
            raise BadSignature(f"{name} is of {fields.get('Codename', 'no code name')}, not of {self.codename}", ADVICE)
        if until := fields.get("Valid-Until"):
            if parsedate_to_datetime(until).timestamp() < time.time():
                raise BadSignature(f"{name} was valid until {until}", "an old mirror, or this host's clock is wrong")
        files = {}
        for line in fields.get("SHA256", "").splitlines():
            if len(words := line.split()) == 3 and words[1].isdigit():
                files[words[2]] = Promise(int(words[1]), words[0])
        return Release(
            folder,
            fields.get("Suite", ""),
            fields.get("Version", ""),
            fields.get("Acquire-By-Hash", "") == "yes",
            files,
        )

    def _index(self, release: Release) -> str:
        """The package list: by hash where the archive offers it, else by name; xz, else gzip."""
        assert self.http is not None
        base = f"main/binary-{self.architecture}/"
        wanted = [
            (base + name, release.files[base + name])
            for name in ("Packages.xz", "Packages.gz", "Packages")
            if base + name in release.files
        ]
        places = [
            (f"{base}by-hash/SHA256/{promise.sha256}", name, promise) for name, promise in wanted if release.by_hash
        ] + [(name, name, promise) for name, promise in wanted]
        problem: ImageError = NotOnMirror(f"{release.folder} has no package list of {self.architecture}", ADVICE)
        for path, name, promise in places:
            target = self.pool.parent / "lists" / f"{promise.sha256}{Path(name).suffix}"
            try:
                if not target.exists():
                    self.http.save(f"{release.folder}/{path}", target, promise, self._counter("package list", promise))
                return _unpacked(target.read_bytes(), name)
            except NotOnMirror as error:
                problem = problem if isinstance(problem, HashMismatch) else error
            except HashMismatch as error:
                problem = error
        raise problem

    def fetch(self, packages: Sequence[Package]) -> dict[str, Path]:
        """Every package as a verified file, four at a time; name -> path."""
        assert self.http is not None
        total = sum(package.size for package in packages)
        done: dict[str, int] = {}
        lock = Lock()

        def one(package: Package) -> Path:
            target = self.pool / f"{package.sha256[:16]}-{Path(package.filename).name}"
            promise = Promise(package.size, package.sha256)

            def seen(have: int) -> None:
                with lock:
                    done[package.name] = have
                    self.progress("downloading", sum(done.values()), total)

            assert self.http is not None
            if not _is_whole(target, promise):
                self.http.save(package.filename, target, promise, seen)
            seen(package.size)
            return target

        with ThreadPoolExecutor(4, "popek-fetch") as workers:
            jobs = {package.name: workers.submit(one, package) for package in packages}
            try:
                return {name: job.result() for name, job in jobs.items()}
            except BaseException:
                self.http.stop.set()
                workers.shutdown(wait=False, cancel_futures=True)
                raise

    def _counter(self, what: str, promise: Promise) -> Callable[[int], None]:
        return lambda have: self.progress(what, have, promise.size)


def _is_whole(path: Path, promise: Promise) -> bool:
    """Is this kept file still the promised one? Read again each time it is about to be used: disks rot."""
    import hashlib

    if not path.is_file() or path.stat().st_size != promise.size:
        path.unlink(missing_ok=True)
        return False
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == promise.sha256:
            return True
    path.unlink(missing_ok=True)
    return False


def _unpacked(data: bytes, name: str) -> str:
    """A verified list's text, no more than INDEX_LIMIT of it."""
    match Path(name).suffix:
        case ".xz":
            text = lzma.LZMADecompressor().decompress(data, INDEX_LIMIT)
        case ".gz":
            text = zlib.decompressobj(31).decompress(data, INDEX_LIMIT)
        case _:
            text = data
    return re.sub(r"\r\n?", "\n", text.decode("utf-8", "replace"))
