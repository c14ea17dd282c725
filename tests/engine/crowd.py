"""Several harts at once on the template engine, each with RAM and a program of its own: none may notice the others.

They share the map of code pages, so every protocol between harts runs (dropping write entries, telling of changed
code), and yet each must end exactly as the reference ends alone. A further thread disturbs them all the time.
"""

from __future__ import annotations

import ctypes
import random
import threading

from popek.engine.template.pages import POLL_ENGINE
from tests.engine import scaffold
from tests.engine.native import NativeMachine
from tests.engine.pair import Oracle, State, load_native
from tests.engine.scaffold import Program


class Crowd:
    """`harts` harts and an oracle."""

    def __init__(self, harts: int) -> None:
        self.native = NativeMachine(harts, scaffold.SIZE, private=True)
        for h in self.native.harts:
            h.hartid = 0  # each believes to be alone
        self.oracle = Oracle()
        self.steps = 0

    def expected(self, program: Program, polls: int = 700) -> State | None:
        """How the program ends; None if it does not, or does what the ISA leaves open."""
        self.oracle.load(program, program.image())
        if not self.oracle.advance(polls) or not self.oracle.desk.finished or self.oracle.undefined:
            return None
        self.steps += self.oracle.steps
        return self.oracle.state

    def check(self, programs: list[Program], rounds: int = 3) -> list[str]:
        """Run the programs that end, all at once, several times; what differs."""
        jobs = [(program, state) for program in programs if (state := self.expected(program)) is not None]
        found: list[str] = []
        harts = len(self.native.harts)

        def work(number: int) -> None:
            for turn in range(rounds):
                for program, state in jobs[(number + turn) % harts :: harts]:
                    load_native(self.native, number, program, program.image())
                    stopped = self.native.go(number, 20)
                    after = State(self.native.harts[number], self.native.desks[number], self.native.rams[number].map)
                    if lines := [*([] if stopped else ["did not stop"]), *state.differences(after, False)]:
                        found.append(f"hart {number}, {program.note}: {lines[:8]}")
                        return

        def disturb() -> None:
            while not done.wait(0.0003):
                for h in self.native.harts:
                    self.native.nudge(ctypes.addressof(h), turns.choice((1, POLL_ENGINE, 1 | POLL_ENGINE)))

        done, turns = threading.Event(), random.Random(len(jobs))
        noise = threading.Thread(target=disturb, daemon=True)
        noise.start()
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(harts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        noise.join()
        return found
