"""The host's apt configuration, in all the spellings that fresh machines have."""

from pathlib import Path

import pytest

from popek.images import mirror
from popek.images.errors import NoMirror

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def host(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / "etc/apt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def find(root: Path, **environ: str) -> list[str]:
    return mirror.find(environ, root)


def test_the_variable_wins(tmp_path: Path) -> None:
    root = host(tmp_path, {"sources.list": "deb http://a.example/debian trixie main\n"})
    assert find(root, POPEK_DEBIAN_MIRROR="http://b.example/debian/ ") == ["http://b.example/debian"]
    with pytest.raises(NoMirror, match="no http or https"):
        find(root, POPEK_DEBIAN_MIRROR="/srv/mirror")


def test_one_line_style(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "sources.list": "# deb http://old.example/debian trixie main\n"
            "deb-src http://src.example/debian trixie main\n"
            "deb http://sec.example/debian-security trixie-security main\n"
            f"deb [arch=amd64 signed-by={KEYRING}] https://a.example/mirror/debian/ bookworm main non-free # c\n"
        },
    )
    assert find(root) == ["https://a.example/mirror/debian"]


def test_deb822_style(tmp_path: Path) -> None:
    main = (
        f"Types: deb\n# a comment\nURIs: http://a.example/debian\nSuites: trixie trixie-updates\nComponents: main\n"
        f"Signed-By: {KEYRING}\n"
    )
    security = "Types: deb\nURIs: http://a.example/debian-security\nSuites: trixie-security\nComponents: main\n"
    off = "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n"
    root = host(tmp_path, {"sources.list.d/debian.sources": f"{main}\n{security}", "sources.list.d/off.sources": off})
    assert find(root) == ["http://a.example/debian"]


def test_debian_cloud_images_name_a_list_of_mirrors(tmp_path: Path) -> None:
    source = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n"
    root = host(
        tmp_path, {"sources.list.d/debian.sources": source, "mirrors/debian.list": "# x\nhttps://cdn.example/debian\n"}
    )
    assert find(root) == ["https://cdn.example/debian"]


def test_other_archives_are_no_debian(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "sources.list": "deb http://archive.example/ubuntu noble main universe\n"
            "deb http://x.example/linux/debian trixie stable\ndeb http://y.example/apt stable main\n"
            "deb http://z.example/debian trixie-pgdg main\ndeb cdrom:[Debian]/ trixie main\nnonsense\n"
        },
    )
    with pytest.raises(NoMirror) as error:
        find(root)
    assert "POPEK_DEBIAN_MIRROR" in error.value.line() and "\n" not in error.value.line()


def test_the_one_with_debians_keyring_comes_first(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "sources.list": "deb http://other.example/debian trixie main\n"
            f"deb [signed-by={KEYRING}] http://real.example/cache trixie main\n"
        },
    )
    assert find(root) == ["http://real.example/cache", "http://other.example/debian"]


def test_an_unreadable_configuration_is_none(tmp_path: Path) -> None:
    with pytest.raises(NoMirror):
        find(tmp_path)


def test_proxies(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "apt.conf.d/01proxy": '// Acquire::http::Proxy "http://no.example:1";\n'
            'Acquire { http { Proxy "http://p.example:3128"; Proxy::direct.example "DIRECT"; }; };\n'
        },
    )
    assert mirror.proxy("http://a.example/debian", {}, root) == "http://p.example:3128"
    assert mirror.proxy("https://a.example/debian", {}, root) == "http://p.example:3128"
    assert mirror.proxy("http://direct.example/debian", {"http_proxy": "http://e"}, root) is None
    empty = tmp_path / "empty"
    assert mirror.proxy("http://a.example/", {"http_proxy": "http://e:1"}, empty) == "http://e:1"
    assert mirror.proxy("http://a.example/", {"http_proxy": "http://e:1", "no_proxy": ".example"}, empty) is None
    assert mirror.proxy("http://a.example/", {}, empty) is None
    flat = mirror.apt_conf('Acquire::https::Proxy "http://s:1"; /* Acquire::http::Proxy "x"; */ # y\nA::B:: "l";')
    assert flat["acquire::https::proxy"] == "http://s:1" and "acquire::http::proxy" not in flat
