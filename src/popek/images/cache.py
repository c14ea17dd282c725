"""How images come to be in the cache exactly once: a lock, a rename at the end.

    images/NAME.lock            held while an image is built
    images/NAME/current         the name of the folder in use, one line
    images/NAME/KEY/            an image; never changed after it got this name
    images/NAME/.build-…/       work in progress; whoever holds the lock removes what a dead builder left

What is in an image is not known here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from popek.images.errors import host_file
from popek.images.progress import Progress

MARK = "current"


def ensure(
    images: Path, name: str, recipe: str, build: Callable[[Path], str], ready: Callable[[], bool], progress: Progress
) -> None:
    """The image of this recipe, built unless it is `ready`: `build` fills a folder and returns a key of what is in it.

    Of two processes that want it at once, one builds and the other waits. A build that fails or is interrupted leaves
    nothing behind but what it downloaded.
    """
    with host_file(images):
        os.makedirs(images.parent, mode=0o700, exist_ok=True)  # the code cache is in it, too, and wants it private
        (images / name).mkdir(parents=True, exist_ok=True)
    with locked(images / f"{name}.lock", lambda: progress(f"waiting for another popek that is building {name}")):
        if ready():
            return
        for left in (images / name).glob(".build-*"):
            shutil.rmtree(left, ignore_errors=True)
        with host_file(images):
            work = Path(tempfile.mkdtemp(prefix=".build-", dir=images / name))
        try:
            with host_file(work):
                key = f"{recipe}-{build(work)}"
                target = images / name / key
                if target.exists():
                    shutil.rmtree(target)
                work.chmod(0o755)
                work.rename(target)
                write(images / name / MARK, f"{key}\n".encode())
        finally:
            shutil.rmtree(work, ignore_errors=True)


def write(path: Path, data: bytes) -> None:
    """A small file that is there as a whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """This process alone; `waiting` is told once if it is not. Ends with the process, however that ends."""
    with host_file(path), open(path, "ab") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    waiting()
                    told = True
                time.sleep(0.1)
        yield
