"""Which Debian mirror this host uses: POPEK_DEBIAN_MIRROR, else the host's apt configuration.

Reading of configuration only: nothing is fetched here, and no host name is written here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from popek.images.control import stanzas
from popek.images.errors import NoMirror

VARIABLE = "POPEK_DEBIAN_MIRROR"
SUITES = frozenset("stable oldstable testing unstable sid bullseye bookworm trixie forky duke".split())
HINT = f"set {VARIABLE} to the address of a Debian mirror, the one whose folders are dists/ and pool/"


@dataclass(frozen=True)
class Source:
    """One address out of sources.list(5)."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def find(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> list[str]:
    """Addresses of Debian mirrors, the likeliest first; never empty."""
    if chosen := environ.get(VARIABLE, "").strip():
        if urlsplit(chosen).scheme not in ("http", "https") or not urlsplit(chosen).netloc:
            raise NoMirror(f"{VARIABLE}={chosen!r} is no http or https address", HINT)
        return [chosen.rstrip("/")]
    ranked = sorted(
        (rank, index, source.uri)
        for index, source in enumerate(sources(root))
        if (rank := likeness(source)) is not None
    )
    found = list(dict.fromkeys(uri for _, _, uri in ranked))
    if not found:
        raise NoMirror("no Debian mirror in this host's apt configuration", HINT)
    return found


def likeness(source: Source) -> int | None:
    """0: surely Debian's main archive; 1: by its looks; None: something else."""
    parts = urlsplit(source.uri)
    if parts.scheme not in ("http", "https") or "main" not in source.components or not SUITES & set(source.suites):
        return None
    last = parts.path.rstrip("/").rpartition("/")[2].lower()
    if last.endswith("security"):
        return None
    if "debian-archive-keyring" in source.signed_by:
        return 0
    return 1 if "debian" in last else None


def sources(root: Path = Path("/")) -> Iterator[Source]:
    """Every enabled binary source of sources.list(5), one-line and deb822 style."""
    etc = root / "etc/apt"
    parts = sorted((etc / "sources.list.d").glob("*")) if (etc / "sources.list.d").is_dir() else []
    for path in [etc / "sources.list", *parts]:
        try:
            text = path.read_text("utf-8", "replace") if path.is_file() else ""
        except OSError:
            continue
        if path.suffix == ".list":
            yield from one_line_style(text, root)
        elif path.suffix == ".sources":
            yield from deb822_style(text, root)


def one_line_style(text: str, root: Path) -> Iterator[Source]:
    """`deb [options] uri suite components...`, `#` starts a comment."""
    for line in text.splitlines():
        entry = re.fullmatch(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)(?:#.*)?", line)
        if entry is None:
            continue
        options, uri, suite, components = entry.groups()
        signed = re.search(r"signed-by=(\S+)", options or "", re.I)
        for real in resolve(uri, root):
            yield Source(real, (suite,), tuple(components.split()), signed[1] if signed else "")


def deb822_style(text: str, root: Path) -> Iterator[Source]:
    """Stanzas with Types, URIs, Suites, Components; `Enabled: no` counts as commented out."""
    for entry in stanzas(text):
        fields = {name.lower(): value for name, value in entry.items()}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for real in resolve(uri, root):
                yield Source(
                    real,
                    tuple(fields.get("suites", "").split()),
                    tuple(fields.get("components", "").split()),
                    fields.get("signed-by", ""),
                )


def resolve(uri: str, root: Path) -> list[str]:
    """An address as it is, or what apt-transport-mirror's list file names (Debian's cloud images use one)."""
    if uri.startswith("mirror+file:"):
        listing = root / urlsplit(uri).path.lstrip("/")
        try:
            lines = listing.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line.split()[0].rstrip("/") for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [uri.rstrip("/")]


def proxy(uri: str, environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str | None:
    """The proxy apt would use for `uri` (apt.conf(5), Acquire::http::Proxy), or the environment's."""
    parts = urlsplit(uri)
    host = (parts.hostname or "").lower()
    settings = apt_settings(root)
    names = [f"acquire::{parts.scheme}::proxy::{host}", f"acquire::{parts.scheme}::proxy"]
    if parts.scheme == "https":
        names.append("acquire::http::proxy")
    for name in names:
        if value := settings.get(name):
            return None if value.upper() in ("DIRECT", "FALSE") else value
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    for entry in filter(None, (part.strip().lower().lstrip(".") for part in exempt.split(","))):
        if entry == "*" or host == entry or host.endswith("." + entry):
            return None
    variable = f"{parts.scheme}_proxy"
    return (
        environ.get(variable)
        or environ.get(variable.upper() if parts.scheme == "https" else "")
        or environ.get("all_proxy")
        or None
    )


def apt_settings(root: Path = Path("/")) -> dict[str, str]:
    """apt.conf(5) as flat lower-case names; parts first, as apt reads them, then apt.conf."""
    folder = root / "etc/apt/apt.conf.d"
    parts = sorted(folder.glob("*")) if folder.is_dir() else []
    settings: dict[str, str] = {}
    for path in [*parts, root / "etc/apt/apt.conf"]:
        try:
            text = path.read_text("utf-8", "replace") if path.is_file() else ""
        except OSError:
            continue
        settings.update(apt_conf(text))
    return settings


def apt_conf(text: str) -> dict[str, str]:
    """Both spellings: `A::B "v";` and `A { B "v"; };`."""
    tokens = re.findall(r'"[^"]*"|/\*.*?\*/|//[^\n]*|#[^\n]*|[{};]|[^\s{};"]+', text, re.S)
    settings: dict[str, str] = {}
    scope: list[str] = []
    words: list[str] = []
    for token in tokens:
        if token.startswith(("//", "/*", "#")):
            continue
        if token == "{":
            scope.append(words[0] if words else "")
            words = []
        elif token == "}":
            if scope:
                scope.pop()
            words = []
        elif token == ";":
            if len(words) >= 2:
                settings["::".join([*scope, words[0]]).lower()] = words[1].strip('"')
            words = []
        else:
            words.append(token)
    return settings
