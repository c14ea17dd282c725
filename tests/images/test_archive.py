"""The chain of trust, and a network that does what networks do. Served from this machine, signed with a test key."""

import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path

import pysequoia
import pytest

from popek.images import signature
from popek.images.archive import Archive
from popek.images.errors import BadSignature, DiskFull, HashMismatch, ImageError, NetworkError, NotOnMirror
from popek.images.fetch import Http
from popek.images.resolve import Universe, closure

from . import made_up
from .made_up import Server, served

PACKAGE = "pool/main/a_1.0-1_riscv64.deb"
INDEX = "dists/trixie/main/binary-riscv64/Packages.xz"
RELEASE = "dists/trixie/InRelease"


@pytest.fixture
def server() -> Iterator[Server]:
    archive = made_up.Archive()
    archive.add("a", files=[("./data", bytes(range(256)) * 2000)], suffix="", Depends="b")
    archive.add("b")
    archive.publish()
    with served(archive) as running:
        yield running


def client(server: Server, pool: Path) -> Archive:
    return Archive(
        [server.address],
        "trixie",
        "riscv64",
        pool / "pool",
        keys=server.archive.keys,
        connect=lambda address: Http(address, timeout=5, proxy=""),
    )


def fetch(server: Server, pool: Path) -> dict[str, Path]:
    archive = client(server, pool)
    _, text = archive.packages()
    return archive.fetch(closure(Universe(text), ["a"]))


def test_all_is_well_and_kept(server: Server, tmp_path: Path) -> None:
    paths = fetch(server, tmp_path)
    assert paths["a"].read_bytes() == server.archive.files[PACKAGE] and set(paths) == {"a", "b"}
    server.asked.clear()
    assert fetch(server, tmp_path) == paths
    assert server.asked == [RELEASE]
    assert not list(tmp_path.rglob("*.part"))


def test_a_kept_file_that_rotted_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = fetch(server, tmp_path)["a"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert fetch(server, tmp_path)["a"].read_bytes() == server.archive.files[PACKAGE]


def test_by_hash_first(server: Server, tmp_path: Path) -> None:
    server.archive.by_hash = True
    server.archive.publish()
    server.archive.files[INDEX] = b"of another day"
    assert fetch(server, tmp_path)
    assert INDEX not in server.asked


def test_a_list_of_another_day_falls_back_to_gzip(server: Server, tmp_path: Path) -> None:
    server.archive.files[INDEX] = lzma.compress(b"of another day")
    assert fetch(server, tmp_path)
    assert server.asked.count(INDEX) == 2


def test_a_release_of_another_day_falls_back_to_the_suite(server: Server, tmp_path: Path) -> None:
    """A caching proxy: dists/trixie's lists are older than its InRelease, but dists/stable is of one piece."""
    server.archive.publish("stable")
    for kind in ("xz", "gz"):
        server.archive.files[f"dists/trixie/main/binary-riscv64/Packages.{kind}"] = b"old"
    release, _ = client(server, tmp_path).packages()
    assert release.folder == "dists/stable"


def test_a_wrong_length_is_seen_before_the_content(server: Server, tmp_path: Path) -> None:
    server.archive.files[PACKAGE] += b"more"
    with pytest.raises(HashMismatch, match="bytes, not the"):
        fetch(server, tmp_path)


def test_no_list_fits(server: Server, tmp_path: Path) -> None:
    for kind in ("xz", "gz"):
        server.archive.files[f"dists/trixie/main/binary-riscv64/Packages.{kind}"] = b"old"
    with pytest.raises(HashMismatch, match="3 bytes, not the") as error:
        fetch(server, tmp_path)
    assert "POPEK_DEBIAN_MIRROR" in error.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"Version: 13.0", b"Version: 13.1"),
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"Codename: trixie\n",
        lambda text: text.replace(b"BEGIN PGP SIGNATURE", b"BEGIN PGP SIGNATURF"),
    ],
)
def test_bad_signatures(server: Server, tmp_path: Path, change: object) -> None:
    server.archive.files[RELEASE] = change(server.archive.files[RELEASE])  # type: ignore[operator]
    with pytest.raises(BadSignature, match="no valid signature"):
        fetch(server, tmp_path)
    assert INDEX not in server.asked


def test_somebody_elses_key(server: Server, tmp_path: Path) -> None:
    server.archive.key = pysequoia.Tsk.generate("Somebody Else <else@example.org>")
    trusted = client(server, tmp_path)
    trusted.keys = signature.archive_keys()
    with pytest.raises(BadSignature):
        trusted.packages()


def test_gpgv_says_the_same(server: Server) -> None:
    text = server.archive.files[RELEASE]
    if signature.shutil.which("gpgv") is None:
        pytest.skip("no gpgv here")
    good = signature._verified_by_gpgv(text, server.archive.keys, "InRelease")
    assert good.rstrip("\n") == signature.verified(text, server.archive.keys, "InRelease").rstrip("\n")
    for bad in (text.replace(b"13.0", b"13.1"), b"Codename: trixie\n"):
        with pytest.raises(BadSignature):
            signature._verified_by_gpgv(bad, server.archive.keys, "InRelease")


def test_another_release_under_this_name(server: Server, tmp_path: Path) -> None:
    server.archive.codename = "bookworm"
    server.archive.publish()
    with pytest.raises(BadSignature, match="is of bookworm, not of trixie"):
        fetch(server, tmp_path)


def test_an_old_release_file(server: Server, tmp_path: Path) -> None:
    server.archive.publish(more="Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n")
    with pytest.raises(BadSignature, match="was valid until"):
        fetch(server, tmp_path)
    server.archive.publish(more="Valid-Until: Sat, 01 Jan 2222 00:00:00 UTC\n")
    assert fetch(server, tmp_path)


def test_a_wrong_package_is_discarded_and_asked_for_once_more(server: Server, tmp_path: Path) -> None:
    server.spoil[PACKAGE] = 1
    assert fetch(server, tmp_path)["a"].read_bytes() == server.archive.files[PACKAGE]
    assert server.asked.count(PACKAGE) == 2


def test_a_package_that_stays_wrong(server: Server, tmp_path: Path) -> None:
    server.spoil[PACKAGE] = 9
    with pytest.raises(HashMismatch) as error:
        fetch(server, tmp_path)
    assert server.asked.count(PACKAGE) == 2 and "\n" not in error.value.line()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(("a_", "a.")) or "-a_" in path.name]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cut[PACKAGE] = 2
    server.ranges = ranges
    assert fetch(server, tmp_path)["a"].read_bytes() == server.archive.files[PACKAGE]
    assert server.asked.count(PACKAGE) == 3


def test_an_interrupted_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut[PACKAGE] = 99
    with pytest.raises(NetworkError):
        fetch(server, tmp_path)
    (part,) = tmp_path.rglob("*-a_*.part")
    assert part.stat().st_size > 0
    server.cut.clear()
    assert fetch(server, tmp_path)["a"].read_bytes() == server.archive.files[PACKAGE]
    assert not list(tmp_path.rglob("*.part"))


def test_a_rotten_beginning_is_thrown_away(server: Server, tmp_path: Path) -> None:
    data = server.archive.files[PACKAGE]
    part = tmp_path / "pool" / f"{hashlib.sha256(data).hexdigest()[:16]}-{PACKAGE.rpartition('/')[2]}.part"
    part.parent.mkdir()
    part.write_bytes(b"rubbish" * (len(data) // 7 + 9))
    assert fetch(server, tmp_path)["a"].read_bytes() == data


def test_a_busy_server(server: Server, tmp_path: Path) -> None:
    server.fail[RELEASE] = 1
    server.fail[PACKAGE] = 2
    assert fetch(server, tmp_path)


def test_no_network(tmp_path: Path) -> None:
    with served(made_up.Archive()) as gone:
        pass
    with pytest.raises(NetworkError, match="refused") as error:
        fetch(gone, tmp_path)
    assert "\n" not in error.value.line() and "POPEK_DEBIAN_MIRROR" in error.value.line()


def test_no_such_release(tmp_path: Path) -> None:
    with served(made_up.Archive()) as empty, pytest.raises(NotOnMirror):
        fetch(empty, tmp_path)


def test_the_second_mirror_when_the_first_is_no_debian(server: Server, tmp_path: Path) -> None:
    with served(made_up.Archive()) as other:
        archive = client(server, tmp_path)
        archive.mirrors.insert(0, other.address)
        archive.packages()
    assert archive.http is not None and archive.http.base == server.address


def test_a_release_file_without_end(server: Server, tmp_path: Path) -> None:
    server.archive.files[RELEASE] = bytes(5 << 20)
    with pytest.raises(HashMismatch, match="longer than"):
        fetch(server, tmp_path)


def test_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from popek.images import fetch as module

    def full(self: Http, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.Http, "_fill", full)
    with pytest.raises(DiskFull) as error:
        fetch(server, tmp_path)
    assert "no space left" in error.value.line() and "\n" not in error.value.line()


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "pool").write_text("a file where a folder should be")
    with pytest.raises((ImageError, OSError)):
        fetch(server, tmp_path)
