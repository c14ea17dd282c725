"""`popek doctor`: what it finds wrong with the cache. The rest is in tests/faces/test_cli."""

from popek.api import checks


def test_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(checks, "ROOM", 0)
    assert checks._disk().good
    (tmp_path / "popek" / "code").mkdir(parents=True)
    (tmp_path / "popek").chmod(0o755)
    (tmp_path / "popek" / "code" / "x").write_bytes(bytes(3_000_000))
    found = checks._disk()
    assert found.good and "compiled code 3.0 MB" in found.says
    (tmp_path / "popek").chmod(0o775)
    found = checks._disk()
    assert found.good is False and "chmod go-w" in found.hint
