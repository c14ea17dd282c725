"""Which packages make a root: a package list, some names to begin with -> everything they need, each once.

Debian Policy chapter 7: Pre-Depends and Depends, alternatives, Provides, versions. Values only: nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from popek.images import control
from popek.images.errors import ImageError


@dataclass(frozen=True)
class Package:
    """One stanza of a package list."""

    name: str
    version: str
    architecture: str
    filename: str
    size: int
    sha256: str
    fields: dict[str, str] = field(repr=False, hash=False)

    @property
    def multiarch_same(self) -> bool:
        """Its files in dpkg's database carry the architecture in their names."""
        return self.fields.get("Multi-Arch") == "same"


@dataclass(frozen=True)
class Need:
    """One alternative of a dependency: a name and maybe a relation to a version."""

    name: str
    relation: str
    version: str


def needs(text: str) -> Iterator[list[Need]]:
    """`a (>= 1) | b, c:any` -> [[a >= 1, b], [c]]."""
    for group in text.replace("\n", " ").split(","):
        alternatives = []
        for part in group.split("|"):
            found = re.match(r"\s*([a-z0-9][a-z0-9+.-]*)(?::\w+)?\s*(?:\(\s*(<<|<=|=|>=|>>)\s*([^)\s]+)\s*\))?", part)
            if found:
                alternatives.append(Need(found[1], found[2] or "", found[3] or ""))
        if alternatives:
            yield alternatives


class Universe:
    """A package list, searchable by name and by what packages provide."""

    def __init__(self, text: str) -> None:
        self._stanzas: dict[str, list[str]] = {}
        self._providers: dict[str, list[str]] = {}
        self._packages: dict[str, Package | None] = {}
        for stanza in text.split("\n\n"):
            if found := re.search(r"^Package: *(\S+)", stanza, re.M):
                self._stanzas.setdefault(found[1], []).append(stanza)
                if (at := stanza.find("\nProvides:")) >= 0:
                    provides = control.fields(stanza[at + 1 :])["Provides"]
                    for group in needs(provides):
                        self._providers.setdefault(group[0].name, []).append(found[1])

    def get(self, name: str) -> Package | None:
        """The newest version of a package, or None."""
        if name not in self._packages:
            best: Package | None = None
            for stanza in self._stanzas.get(name, ()):
                fields = control.fields(stanza)
                if best is None or control.compare(fields["Version"], best.version) > 0:
                    best = Package(
                        name,
                        fields["Version"],
                        fields["Architecture"],
                        fields["Filename"],
                        int(fields["Size"]),
                        fields["SHA256"],
                        fields,
                    )
            self._packages[name] = best
        return self._packages[name]

    def base(self) -> list[str]:
        """What every Debian system has: essential packages and those of priority required."""
        names = []
        for name, stanzas in self._stanzas.items():
            if any("\nEssential: yes" in text or "\nPriority: required" in text for text in stanzas):
                names.append(name)
        return sorted(names)

    def satisfying(self, need: Need, chosen: Iterable[str] = ()) -> str | None:
        """A package that fulfils `need`: the one of that name, else a provider, those already chosen first."""
        package = self.get(need.name)
        if package is not None and control.satisfies(package.version, need.relation, need.version):
            return need.name
        providers = [name for name in self._providers.get(need.name, ()) if self._provides(name, need)]
        already = set(chosen)
        return next((name for name in providers if name in already), min(providers, default=None))

    def _provides(self, name: str, need: Need) -> bool:
        package = self.get(name)
        if package is None:
            return False
        for group in needs(package.fields.get("Provides", "")):
            if group[0].name == need.name and (
                not need.relation
                or (group[0].relation == "=" and control.satisfies(group[0].version, need.relation, need.version))
            ):
                return True
        return False


def closure(universe: Universe, wanted: Iterable[str]) -> list[Package]:
    """`wanted` and all they depend on; sorted by name. ImageError names what cannot be had."""
    names = list(dict.fromkeys(wanted))
    chosen: dict[str, Package] = {}
    queue = [(name, "") for name in names]
    for name in names:  # so that an alternative which is wanted anyway is preferred
        if (package := universe.get(name)) is not None:
            chosen[name] = package
    visited: set[str] = set()
    while queue:
        name, asked_by = queue.pop(0)
        if name in visited:
            continue
        visited.add(name)
        package = universe.get(name)
        if package is None:
            raise ImageError(f"the archive has no package {name}{asked_by}")
        chosen[name] = package
        for kind in ("Pre-Depends", "Depends"):
            for group in needs(package.fields.get(kind, "")):
                queue.append((_choose(universe, group, chosen, name), f", which {name} needs"))
    return sorted(chosen.values(), key=lambda package: package.name)


def _choose(universe: Universe, group: list[Need], chosen: dict[str, Package], asker: str) -> str:
    """An alternative that is chosen already, else the first that can be had (as apt does)."""
    options = [name for need in group if (name := universe.satisfying(need, chosen)) is not None]
    if not options:
        text = " | ".join(f"{n.name} ({n.relation} {n.version})" if n.relation else n.name for n in group)
        raise ImageError(f"{asker} needs {text}, which the archive does not have")
    return next((name for name in options if name in chosen), options[0])
