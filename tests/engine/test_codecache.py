"""The code cache that lasts: what is found, what is refused, many writers at once, bounds on the disk."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from popek.base import private
from popek.engine import codecache
from popek.engine.codecache import CodeCache
from popek.engine.optimizing.image import Region, RegionFlag, Span, beginning, pack
from popek.engine.segment import HEAD, Damaged, Record, Segment
from popek.engine.segment import pack as pack_segment
from tests.unprivileged import as_nobody

FINGERPRINT = "5bccb73de7ac883b6f1b19c2c64e51cbe4e77ab5"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("POPEK_CACHE_SIZE", raising=False)
    monkeypatch.setattr(codecache, "LOOK_SECONDS", 0.0)
    return tmp_path


def folder(home: Path) -> Path:
    return home / "popek" / "regions" / FINGERPRINT


def segments(home: Path) -> list[Path]:
    return sorted(folder(home).glob("*.seg"))


def image(entry: int = 0x100, guest: bytes = bytes(range(64)), code: bytes = b"\xc3", first: int = -1) -> bytes:
    first = entry if first < 0 else first
    spans = [Span(-1, 4, b"before"), Span(0, first, guest), Span(1, 0, b"behind")]
    return pack(Region(code, [], spans, entry, 3, 7, RegionFlag(0)))


def test_the_beginning_of_an_image() -> None:
    guest = bytes(range(64))
    assert beginning(image(), HEAD) == (0x100, guest[:8])
    assert beginning(image(0x110, first=0x100), HEAD) == (0x110, guest[16:24])
    assert beginning(image(0x100 + 60, first=0x100), HEAD) == (0x13C, guest[60:])
    assert beginning(image(0xFFE, b"\x01\x02"), HEAD) == (0xFFE, b"\x01\x02")
    for wrong in (b"", b"x" * 100, image()[:-1], image(0x200, first=0x100), image()[:40]):
        with pytest.raises(ValueError):
            beginning(wrong, HEAD)


def test_found_again_in_this_process_and_in_the_next(home: Path) -> None:
    one, other = image(), image(0x200, code=b"\x90" * 5000)
    cache = CodeCache.open(FINGERPRINT)
    assert cache.find(0x100, bytes(range(8))) == []
    cache.add(one)
    cache.add(other)
    assert cache.find(0x100, bytes(range(8))) == [one]
    assert not segments(home)
    cache.close()
    assert len(segments(home)) == 1
    assert cache.find(0x100, bytes(range(8))) == []
    for path in (home / "popek", home / "popek" / "regions", folder(home)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(segments(home)[0].stat().st_mode) == 0o600
    again = CodeCache.open(FINGERPRINT)
    assert again.find(0x100, bytes(range(8))) == [one]
    assert again.find(0x200, bytes(range(8))) == [other]
    assert again.find(0x100, b"\0" * 8) == [] and again.find(0x102, bytes(range(8))) == []
    assert again.statistics() | {"bytes": 0} == {"hits": 2, "misses": 2, "added": 0, "segments": 1, "bytes": 0}
    again.add(one)
    again.close()
    assert len(segments(home)) == 1, "what is there is not kept a second time"


def test_regions_shorter_than_what_they_are_looked_up_by(home: Path) -> None:
    """A loop of two compressed instructions: what follows it in memory may be anything."""
    short = image(0x40, b"\x01\x02\x03\x04")
    cache = CodeCache.open(FINGERPRINT)
    cache.add(short)
    for _ in range(2):
        assert cache.find(0x40, b"\x01\x02\x03\x04anything") == [short]
        assert cache.find(0x40, b"\x01\x02\x03\x05anything") == []
        assert cache.find(0x40, b"\x01\x02") == [] and cache.find(0x40, b"\x01") == [] and cache.find(0x40, b"") == []
        cache.flush()
    at_the_end = image(0xFFE, b"\x01\x02")
    cache.add(at_the_end)
    assert cache.find(0xFFE, b"\x01\x02") == [at_the_end]


def test_candidates_come_newest_first_and_are_few(home: Path) -> None:
    cache = CodeCache.open(FINGERPRINT)
    made = [image(code=bytes([i])) for i in range(7)]
    for i, one in enumerate(made):
        cache.add(one)
        if i in (1, 4):
            cache.flush()
    assert cache.find(0x100, bytes(range(8))) == made[:-5:-1]


def test_other_processes_see_what_was_flushed(home: Path) -> None:
    reader, writer = CodeCache.open(FINGERPRINT), CodeCache.open(FINGERPRINT)
    assert reader.find(0x100, bytes(range(8))) == []
    writer.add(image())
    assert reader.find(0x100, bytes(range(8))) == []
    writer.flush()
    assert reader.find(0x100, bytes(range(8))) == [image()]


def test_additions_are_written_before_they_are_many(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CodeCache.open(FINGERPRINT)
    for i in range(3):
        cache.add(image(code=bytes([i]) * 400_000))
    assert len(segments(home)) == 1
    monkeypatch.setattr(codecache, "FLUSH_SECONDS", -1.0)
    cache.add(image(0x300))
    assert len(segments(home)) == 2


def test_another_engine_finds_nothing(home: Path) -> None:
    cache = CodeCache.open(FINGERPRINT)
    cache.add(image())
    cache.close()
    other = "0" * 40
    said: list[str] = []
    second = CodeCache.open(other, said.append)
    assert second.find(0x100, bytes(range(8))) == [] and not said
    moved = home / "popek" / "regions" / other / segments(home)[0].name
    segments(home)[0].rename(moved)
    assert second.find(0x100, bytes(range(8))) == []
    assert len(said) == 1 and not moved.exists()


def test_nonsense_is_not_kept(home: Path) -> None:
    cache = CodeCache.open(FINGERPRINT)
    for wrong in (b"", b"nonsense" * 9, image()[:-8]):
        cache.add(wrong)
    cache.close()
    assert not segments(home)


# -- files that are not what they should be --


def kept(home: Path, count: int = 5) -> list[bytes]:
    cache = CodeCache.open(FINGERPRINT)
    made = [image(16 * i, bytes([i]) * 32, code=bytes([i, i]) * 40) for i in range(count)]
    for one in made:
        cache.add(one)
    cache.close()
    return made


GOOD = pack_segment(
    FINGERPRINT.encode(),
    [Record(*beginning(one, HEAD), one) for one in (image(16 * i, bytes([i]) * 32, code=bytes([i])) for i in range(9))],
)
CONTENTS = {(16 * i, bytes([i]) * 8): image(16 * i, bytes([i]) * 32, code=bytes([i])) for i in range(9)}


@settings(max_examples=400)
@given(
    changes=some.lists(some.tuples(some.integers(0, len(GOOD) - 1), some.integers(0, 255)), max_size=4),
    cut=some.none() | some.integers(0, len(GOOD)),
    tail=some.binary(max_size=20),
)
def test_a_changed_segment_never_gives_a_wrong_image(tmp_path_factory, changes, cut, tail) -> None:
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    data = data[:cut] + tail
    place = tmp_path_factory.mktemp("segment")
    (place / "s").write_bytes(data)
    (place / "s").chmod(0o600)
    here = os.open(place, os.O_RDONLY)
    try:
        segment = Segment(here, "s", FINGERPRINT.encode())
        for (offset, head), right in CONTENTS.items():
            try:
                found = segment.find(offset, head)
            except Damaged:
                continue
            assert [record.image for record in found] in ([right], []) and (found or data != GOOD)
        segment.close()
    except Damaged:
        assert data != GOOD
    finally:
        os.close(here)


@settings(max_examples=150)
@given(some.binary(max_size=400), some.booleans())
def test_random_files_are_refused(tmp_path_factory, data: bytes, magic: bool) -> None:
    place = tmp_path_factory.mktemp("segment")
    (place / "s").write_bytes(b"popekrs1" * magic + data)
    (place / "s").chmod(0o600)
    here = os.open(place, os.O_RDONLY)
    with pytest.raises(Damaged):
        Segment(here, "s", FINGERPRINT.encode())
    os.close(here)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes() if path.is_file() else b"")
    match how:
        case "record":
            data[200] ^= 1
            path.write_bytes(data)
        case "index":
            data[-3] ^= 1
            path.write_bytes(data)
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "random":
            path.write_bytes(random.Random(1).randbytes(5000))
        case "writable":
            path.chmod(path.stat().st_mode | 0o022)
        case "group":
            path.chmod(path.stat().st_mode | 0o020)
        case "foreign":
            os.chown(path, 12345, -1)
        case "link":
            path.rename(path.with_suffix(".moved"))
            path.symlink_to(path.with_suffix(".moved"))
        case "fifo":
            path.unlink()
            os.mkfifo(path, 0o600)
        case "folder":
            path.unlink()
            path.mkdir(0o700)
        case _:
            raise AssertionError(how)


BROKEN = ["record", "index", "cut", "empty", "random", "writable", "group", "link", "fifo", "folder"]
ROOT = os.geteuid() == 0


@pytest.mark.parametrize("how", [*BROKEN, pytest.param("foreign", marks=pytest.mark.skipif(not ROOT, reason="chown"))])
def test_a_broken_file_costs_its_regions_and_one_warning(home: Path, how: str) -> None:
    made = kept(home)
    damage(segments(home)[0], how)
    said: list[str] = []
    cache = CodeCache.open(FINGERPRINT, said.append)
    for _ in range(2):
        found = [cache.find(16 * i, bytes([i]) * 8) for i in range(5)]
        assert found == [[]] * 5
    assert len(said) == 1 and said[0].startswith("cache of compiled code: ")
    for one in made:
        cache.add(one)
    cache.close()
    again = CodeCache.open(FINGERPRINT)
    assert [again.find(16 * i, bytes([i]) * 8) for i in range(5)] == [[one] for one in made]


def test_a_file_cut_short_under_us(home: Path) -> None:
    """Reading a mapping behind the file's end would end the process."""
    kept(home)
    said: list[str] = []
    cache = CodeCache.open(FINGERPRINT, said.append)
    assert len(cache.find(0, bytes(8))) == 1
    os.truncate(segments(home)[0], 0)
    assert cache.find(0, bytes(8)) == [] and cache.find(16, b"\1" * 8) == []
    assert len(said) == 1 and not segments(home)


@pytest.mark.parametrize("level", ["popek", "popek/regions", f"popek/regions/{FINGERPRINT}"])
@pytest.mark.parametrize("how", ["writable", "group", "link", "file", "foreign"])
def test_a_folder_that_is_not_ours_alone_is_not_used(home: Path, level: str, how: str) -> None:
    if how == "foreign" and not ROOT:
        pytest.skip("chown")
    made = kept(home)
    place = home / level
    if how == "file":
        place.rename(home / "away")
        place.write_text("")
    elif how == "link":
        place.rename(home / "away")
        place.symlink_to(home / "away")
    else:
        damage(place, how)
    before = sorted(home.rglob("*"))
    said: list[str] = []
    cache = CodeCache.open(FINGERPRINT, said.append)
    assert cache.find(0, bytes(8)) == []
    cache.add(made[0])
    assert cache.find(0, bytes(8)) == [made[0]], "in memory it works"
    cache.close()
    assert len(said) == 1 and sorted(home.rglob("*")) == before


# -- a disk that does not take it --


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG])
def test_a_disk_that_takes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    kept(home, 2)
    said: list[str] = []
    cache = CodeCache.open(FINGERPRINT, said.append)

    def refuse(*ignored: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)
    for i in range(5):
        cache.add(image(0x800 + i * 2))
        cache.flush()
    assert said == [f"cache of compiled code: {folder(home)}: {os.strerror(number)}; new regions are not kept"]
    assert cache.find(0x802, bytes(range(8))) == [image(0x802)] and len(cache.find(0, bytes(8))) == 1
    cache.close()
    assert len(segments(home)) == 1 and not [p for p in folder(home).iterdir() if p.name.startswith(".")]


def _read_only(home: str) -> tuple[int, list[str]]:
    os.environ["XDG_CACHE_HOME"] = home
    said: list[str] = []
    cache = CodeCache.open(FINGERPRINT, said.append)
    found = len(cache.find(0, bytes(8)))
    cache.add(image(0x900))
    cache.flush()
    cache.add(image(0x902))
    found += len(cache.find(0x902, bytes(range(8))))
    cache.close()
    return found, said


def test_a_read_only_folder_is_read(home: Path) -> None:
    kept(home)
    folder(home).chmod(0o500)
    found, said = as_nobody(home, _read_only, str(home))
    assert found == 2 and len(said) == 1 and "Permission denied" in said[0]


def test_a_folder_removed_under_us_is_made_again(home: Path) -> None:
    import shutil

    cache = CodeCache.open(FINGERPRINT)
    cache.add(image())
    cache.flush()
    shutil.rmtree(home / "popek")
    cache.add(image(0x200))
    cache.close()
    assert CodeCache.open(FINGERPRINT).find(0x200, bytes(range(8))) == [image(0x200)]


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    cache = CodeCache.open(FINGERPRINT, said.append)
    cache.add(image())
    assert cache.find(0x100, bytes(range(8))) == [image()] and len(said) == 1
    cache.close()


# -- bounds --


def test_nothing_is_kept_with_size_zero(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPEK_CACHE_SIZE", "0")
    said: list[str] = []
    cache = CodeCache.open(FINGERPRINT, said.append)
    cache.add(image())
    assert cache.find(0x100, bytes(range(8))) == [image()]
    cache.close()
    assert not (home / "popek").exists() and not said


def test_small_segments_are_merged(home: Path) -> None:
    made = []
    for i in range(40):
        cache = CodeCache.open(FINGERPRINT)
        made.append(image(2 * i, bytes([i, 1]) * 16, code=bytes([i]) * 100))
        cache.add(made[-1])
        cache.add(image(0x700, code=bytes([i])))
        cache.close()
        assert len(segments(home)) <= codecache.FEW + 1
    cache = CodeCache.open(FINGERPRINT)
    for i, one in enumerate(made):
        assert cache.find(2 * i, bytes([i, 1]) * 4) == [one]
    assert cache.find(0x700, bytes(range(8))) == [image(0x700, code=bytes([i])) for i in (39, 38, 37, 36)]
    size = sum(len(path.read_bytes()) for path in segments(home))
    assert size < 40 * 900


def test_readers_survive_merging_and_eviction(home: Path) -> None:
    kept(home)
    reader = CodeCache.open(FINGERPRINT)
    assert len(reader.find(0, bytes(8))) == 1
    for i in range(12):
        writer = CodeCache.open(FINGERPRINT)
        writer.add(image(0x800 + 2 * i))
        writer.close()
        assert len(reader.find(0, bytes(8))) == 1
    for path in segments(home):
        path.unlink()
    assert reader.find(0, bytes(8)) == []


def test_what_was_of_use_stays(home: Path) -> None:
    limit = 1 << 20
    names = {}
    for i in range(4):
        cache = CodeCache.open(FINGERPRINT, limit=limit)
        cache.add(image(16 * i, bytes([i]) * 8, code=random.Random(i).randbytes(limit // 5)))
        cache.close()
        names[i] = (set(segments(home)) - set(names.values())).pop()
        os.utime(names[i], (1000 + i, 1000 + i))
    cache = CodeCache.open(FINGERPRINT, limit=limit)
    assert len(cache.find(0, bytes(8))) == 1  # the oldest is of use
    old = home / "popek" / "regions" / ("1" * 40)
    old.mkdir(0o700)
    (old / "0000000000000000-1-1.seg").write_bytes(bytes(limit // 5))
    os.utime(old / "0000000000000000-1-1.seg", (999, 999))
    cache.add(image(0x500, code=random.Random(9).randbytes(limit // 5)))
    cache.flush()
    assert not list(old.iterdir()), "another engine's is older than all"
    cache.add(image(0x502, code=random.Random(10).randbytes(limit // 5)))
    cache.flush()
    left = set(segments(home))
    assert names[0] in left and names[1] not in left
    assert sum(path.stat().st_size for path in left) <= limit


def test_left_overs_are_swept(home: Path) -> None:
    kept(home)
    stale, fresh = folder(home) / ".x.seg-1-aa", folder(home) / ".y.seg-1-aa"
    for path in (stale, fresh):
        path.write_bytes(b"half")
    os.utime(stale, (1, 1))
    unused = home / "popek" / "regions" / "old"
    unused.mkdir(0o700)
    os.utime(unused, (1, 1))
    cache = CodeCache.open(FINGERPRINT)
    cache.add(image(0x600))
    cache.close()
    assert fresh.exists() and not stale.exists() and not unused.exists()


# -- many at once --


def _writer(home: str, number: int, rounds: int, limit: int) -> None:
    os.environ["XDG_CACHE_HOME"] = home
    codecache.LOOK_SECONDS = 0.0
    random_ = random.Random(number)
    for i in range(rounds):
        cache = CodeCache.open(FINGERPRINT, limit=limit)
        for _ in range(5):
            entry = 2 * random_.randrange(200)
            for found in cache.find(entry, entry.to_bytes(8, "little")):
                assert beginning(found, HEAD) == (entry, entry.to_bytes(8, "little"))
            cache.add(image(entry, entry.to_bytes(8, "little"), code=random_.randbytes(random_.randrange(4000))))
        cache.add(image(0x800 + 2 * number, bytes([i]) * 8, code=b"mine"))
        cache.close()


@pytest.mark.parametrize("limit", [64 << 20, 1 << 20])
def test_writers_at_the_same_time(home: Path, limit: int) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_writer, args=(str(home), n, 40, limit)) for n in range(5)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(120)
    assert [one.exitcode for one in writers] == [0] * 5
    said: list[str] = []
    cache = CodeCache.open(FINGERPRINT, said.append, limit)
    found = [len(cache.find(0x800 + 2 * n, bytes([i]) * 8)) for n in range(5) for i in range(40)]
    if limit > 10 << 20:
        assert found == [1] * 200, "nothing is lost"
        assert len(segments(home)) <= codecache.FEW + 5
    else:
        cache.add(image(0xF00))
        cache.flush()
        assert sum(path.stat().st_size for path in segments(home)) <= limit and 1 in found
    assert not said
    assert not [p for p in folder(home).iterdir() if p.name.startswith(".")]


def _flush_for_ever(home: str) -> None:
    os.environ["XDG_CACHE_HOME"] = home
    i = 0
    while True:
        cache = CodeCache.open(FINGERPRINT)
        for j in range(20):
            cache.add(image(2 * j, i.to_bytes(8, "little"), code=random.randbytes(20_000)))
        cache.close()
        i += 1


def test_killed_in_the_middle(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    for i in range(15):
        one = context.Process(target=_flush_for_ever, args=(str(home),))
        one.start()
        time.sleep(0.02 + 0.013 * i)
        one.kill()
        one.join()
        said: list[str] = []
        cache = CodeCache.open(FINGERPRINT, said.append)
        assert cache.find(0, bytes(8)) or i < 5
        assert not said
        cache.add(image(0x900 + 2 * i))
        cache.close()
        assert CodeCache.open(FINGERPRINT).find(0x900 + 2 * i, bytes(range(8))) == [image(0x900 + 2 * i)]


def test_a_merge_in_another_process_is_not_waited_for(home: Path) -> None:
    import fcntl

    kept(home)
    lock = os.open(home / "popek" / "regions" / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    began = time.monotonic()
    kept(home, 9)
    assert time.monotonic() - began < 5 and len(segments(home)) == 2
    os.close(lock)


def test_finding_is_fast(home: Path) -> None:
    """Generous bounds: microseconds, not a look at everything that is there."""
    cache = CodeCache.open(FINGERPRINT)
    for i in range(2000):
        cache.add(image(2 * i % 4096, i.to_bytes(8, "little"), code=bytes(1000)))
    cache.close()
    began = time.perf_counter()
    cache = CodeCache.open(FINGERPRINT)
    opened = time.perf_counter() - began
    cache.find(0, bytes(8))
    first = time.perf_counter() - began
    began = time.perf_counter()
    for i in range(500):
        assert len(cache.find(2 * i, i.to_bytes(8, "little"))) == 1
    found = (time.perf_counter() - began) / 500
    print(f"open {opened * 1e6:.0f} us, first {first * 1e6:.0f} us, find {found * 1e6:.1f} us")
    assert first < 0.05 and found < 0.002


def test_private_files_do_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    here = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError):
        private.read(here, "link")
    private.write(here, "link", b"new")
    assert (tmp_path / "target").read_text() == "x" and (tmp_path / "link").read_text() == "new"
    os.close(here)
