"""abi/newc: what images/cpio writes is read again, one archive behind the other, packed or not."""

import gzip
import io

from popek.abi import newc
from popek.images.cpio import Cpio

LIMIT = 1 << 20


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    made = Cpio(out)
    for name, data in files.items():
        made.file(f"bin/{name}", data)
    made.link("bin/link", "a")
    made.device("dev/console", "c", 5, 1)
    made.close()
    return out.getvalue()


def names(data: bytes) -> dict[str, bytes]:
    return {name: bytes(content) for name, content in newc.files(memoryview(data), LIMIT, "x")}


def test_files_of_several_archives():
    data = archive(a=b"abc") + bytes(512) + gzip.compress(archive(b=b"x" * 5000))
    assert names(data) == {"bin/a": b"abc", "bin/b": b"x" * 5000}


def test_what_is_no_archive_has_no_files():
    assert names(b"") == names(bytes(100)) == names(b"hello") == {}
    assert names(archive(a=b"abc")[:60]) == {}
    assert names(b"070701" + b"z" * 200) == {}
