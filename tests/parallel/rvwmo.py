"""RVWMO, axiomatically: which outcomes of a litmus test the memory model allows.

Unprivileged ISA, chapter "RVWMO Memory Consistency Model": preserved program order (rules 1 to 13), and the axioms.
Every candidate execution is looked at: what each load returns, which store it comes from (rf), in which order the
stores to each location become visible (co). It is allowed if co, rf between harts, fr and preserved program order have
no cycle, if each location by itself is coherent, and if nothing comes between the halves of an LR/SC pair or AMO.

Accesses to a variable must all have one width. What an AMO reads and what it writes are two events, as in herd's model,
so a little more is allowed than if they were one. FENCE.I orders nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product

from tests.parallel.herd import Litmus, Unsupported
from tests.parallel.threads import Event, addresses, all_runs, observed, value_of

Outcome = tuple[int, ...]


def widths(test: Litmus) -> dict[int, int]:
    """Width of each variable. Raises Unsupported if there are several."""
    found: dict[int, int] = {}
    for _, _, events, _ in all_runs(test):
        for place, width in events:
            if found.setdefault(place, width) != width:
                raise Unsupported("mixed sizes")
    return found


def outcomes(test: Litmus) -> set[Outcome]:
    """All that may be."""
    return set(_executions(test, None))


def allowed(test: Litmus, outcome: Outcome) -> bool:
    """May this be?"""
    return next(iter(_executions(test, outcome)), None) is not None


def known(test: Litmus, states: Sequence[dict[str, int | str]]) -> list[bool]:
    """Which of some states, of some registers and variables each, may be."""
    names = names_of(test)
    made = [dict(zip(names, outcome, strict=True)) for outcome in outcomes(test)]
    wanted = [{place: value_of(test, value) for place, value in state.items()} for state in states]
    return [any(all(one.get(place) == value for place, value in state.items()) for one in made) for state in wanted]


def names_of(test: Litmus) -> list[str]:
    """What the parts of an outcome are."""
    return [f"{t}:x{r}" for t, r in observed(test)] + list(test.memory)


def holds(test: Litmus, outcome: Outcome) -> bool:
    """Does the test's condition (without its quantifier) hold?"""
    state, where = dict(zip(names_of(test), outcome, strict=True)), addresses(test)
    return bool(test.condition) and bool(eval(test.condition, {"s": state.__getitem__, "a": where.__getitem__}))


def _executions(test: Litmus, outcome: Outcome | None) -> Iterator[Outcome]:
    """Outcomes of all allowed executions; only those with that one if it is given."""
    names = observed(test)
    where = addresses(test)
    initial = {where[name]: value_of(test, value) for name, value in test.memory.items()}
    final = dict(zip(initial, outcome[len(names) :], strict=True)) if outcome is not None else None
    choices = []
    for number, runs, _, _ in all_runs(test):
        if outcome is not None:
            wanted = tuple(v for (t, _), v in zip(names, outcome[: len(names)], strict=True) if t == number)
            runs = [run for run in runs if run.registers == wanted]
        choices.append(runs)
    seen: set[Outcome] = set()
    for combination in product(*choices):
        at = [0] * len(test.threads)
        values = []
        for thread, _ in names:
            values.append(combination[thread].registers[at[thread]])
            at[thread] += 1
        yield from _consistent([run.events for run in combination], initial, final, seen, tuple(values))


def _consistent(threads: list[tuple[Event, ...]], initial: dict[int, int], final: dict[int, int] | None,
                seen: set[Outcome], values: tuple[int, ...]) -> Iterator[Outcome]:  # fmt: skip
    """The outcomes not seen yet of what these events may do together."""
    events: list[Event] = [Event("W", place, value) for place, value in initial.items()]
    owner = [-1] * len(events)
    ranges = []
    for number, thread in enumerate(threads):
        base = len(events)
        ranges.append((base, base + len(thread)))
        events += thread
        owner += [number] * len(thread)
    writes: dict[int, list[int]] = {}
    for n, event in enumerate(events):
        if event.kind == "W":
            writes.setdefault(event.place, []).append(n)
    reads = [n for n, event in enumerate(events) if event.kind == "R"]
    sources = [[w for w in writes[events[r].place] if events[w].value == events[r].value
                and not (owner[w] == owner[r] and w > r)] for r in reads]  # fmt: skip
    if not all(sources):
        return
    static = _static_order(events, ranges)
    orders = [[(w[0], *rest) for rest in permutations(w[1:])] for w in writes.values()]
    if final is not None:
        orders = [[o for o in order if events[o[-1]].value == final[events[o[0]].place]] for order in orders]
    for order in product(*orders):
        outcome = (*values, *(events[o[-1]].value for o in order))
        if outcome in seen:
            continue
        rank = {w: (n, o) for o in order for n, w in enumerate(o)}
        if any(owner[a] == owner[b] and a > b for o in order for a, b in zip(o, o[1:], strict=False) if owner[a] >= 0):
            continue
        for chosen in product(*sources):
            if _fine(events, owner, ranges, static, order, rank, dict(zip(reads, chosen, strict=True))):
                seen.add(outcome)
                yield outcome
                break


def _static_order(events: list[Event], ranges: list[tuple[int, int]]) -> list[int]:
    """Preserved program order as far as it does not depend on what loads return: successors as bit masks."""
    after = [0] * len(events)
    for start, end in ranges:
        for b in range(start, end):
            y = events[b]
            if y.kind == "F":
                continue
            for a in range(start, b):
                x = events[a]
                if x.kind == "F":
                    continue
                if (
                    (x.place == y.place and y.kind == "W")                                         # rule 1
                    or any(_fences(events[f], x, y) for f in range(a + 1, b) if events[f].kind == "F")     # 4
                    or x.aq or y.rl                                                                # 5, 6
                    or ((x.aq or x.rl) and (y.aq or y.rl))                                         # 7
                    or (y.pair >= 0 and y.pair + start == a)                                       # 8
                    or a - start in y.address                                                      # 9
                    or (y.kind == "W" and (a - start in y.data or a - start in y.control))         # 10, 11
                    or (y.kind == "W" and any(a - start in events[m].address for m in range(a + 1, b)))    # 13
                ):  # fmt: skip
                    after[a] |= 1 << b
    return after


def _fences(fence: Event, x: Event, y: Event) -> bool:
    if fence.before == 4:
        return x.kind == "R" or (x.kind == "W" and y.kind == "W")
    return bool(fence.before & (2 if x.kind == "R" else 1) and fence.after & (2 if y.kind == "R" else 1))


def _fine(events: list[Event], owner: list[int], ranges: list[tuple[int, int]], static: list[int],
          order: Sequence[Sequence[int]], rank: dict[int, tuple[int, Sequence[int]]],
          rf: dict[int, int]) -> bool:  # fmt: skip
    """Do the axioms hold?"""
    size = len(events)
    after, coherent = static[:], [0] * size
    for o in order:
        for a, b in zip(o, o[1:], strict=False):
            after[a] |= 1 << b
            coherent[a] |= 1 << b
    for r, w in rf.items():
        coherent[w] |= 1 << r
        if owner[w] != owner[r]:
            after[w] |= 1 << r
        n, o = rank[w]
        if n + 1 < len(o):
            after[r] |= 1 << o[n + 1]
            coherent[r] |= 1 << o[n + 1]
    for start, end in ranges:
        last: dict[int, int] = {}
        for n in range(start, end):
            event = events[n]
            if event.kind == "F":
                continue
            if event.place in last:
                coherent[last[event.place]] |= 1 << n
            last[event.place] = n
            if event.kind != "R":
                continue
            w = rf[n]
            if owner[w] == owner[n] and w >= start:
                if events[w].amo:                                                                  # rule 3
                    after[w] |= 1 << n
                for m in events[w].address | events[w].data:                                       # 12
                    after[m + start] |= 1 << n
            for a in range(n - 1, start - 1, -1):                                                  # 2
                if events[a].kind == "W" and events[a].place == event.place:
                    break
                if events[a].kind == "R" and events[a].place == event.place and rf[a] != w:
                    after[a] |= 1 << n
    for n, event in enumerate(events):
        if event.kind == "W" and event.pair >= 0:
            source, mine = rf[event.pair + ranges[owner[n]][0]], rank[n][0]
            first, o = rank[source]
            if first > mine or any(owner[s] != owner[n] for s in o[first + 1 : mine]):
                return False
    return _acyclic(coherent) and _acyclic(after)


def _acyclic(after: list[int]) -> bool:
    """No cycle: take away what leads nowhere until nothing is left."""
    left = (1 << len(after)) - 1
    while left:
        gone = 0
        for n, to in enumerate(after):
            if left >> n & 1 and not to & left:
                gone |= 1 << n
        if not gone:
            return False
        left &= ~gone
    return True

