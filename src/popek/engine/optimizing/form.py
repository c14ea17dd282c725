"""Which guest instructions make a region, and its graph of basic blocks.

Lives here: following direct control flow from the entry, calls included, as far as the template engine has been there
already and the region stays small. Not here: values and code (lower).

An instruction is known by its address and the calls that led to it: a function that is called at two places is in the
region twice, and a return leads to one place.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from popek.engine.optimizing.image import PAGE, Request
from popek.engine.optimizing.tables import Instruction, Tables

LIMIT = 250  # instructions
DEPTH = 3  # calls within calls
WORTH = 4  # a smaller region is not worth its entry and exit
LINKS = (1, 5)  # registers that calls leave the return address in (Unprivileged ISA, table "Return-address stack")
#: What lower makes without a piece.
OWN = frozenset("lui auipc jal jalr lb lh lw ld lbu lhu lwu sb sh sw sd flw fld fsw fsd".split())

Calls = tuple[tuple[int, int], ...]  # (link register, return address), the innermost last
Place = tuple[int, Calls]


@dataclass
class Step:
    """One instruction of the region, and where control goes from it."""

    place: Place
    instruction: Instruction
    following: Place | None = None  # straight on, or a branch that is not taken
    target: Place | None = None  # of a jump, a call, a return or a taken branch
    goes_to: int | None = None  # address of `target`, also where that is not in the region

    @property
    def pc(self) -> int:
        """Its address."""
        return self.place[0]

    @property
    def after(self) -> int:
        """The address behind it."""
        return self.place[0] + self.instruction.length

    @property
    def transfers(self) -> bool:
        """Does it end a basic block?"""
        return self.instruction.op.kind in ("branch", "jump", "jump_register") or self.stops

    @property
    def stops(self) -> bool:
        """Must it be executed the long way?"""
        return not executable(self.instruction)


@dataclass
class Block:
    """Straight code. Its last step says where it leads; without one that transfers, to `following`."""

    number: int
    steps: list[Step] = field(default_factory=list)
    before: list[int] = field(default_factory=list)  # numbers of the blocks that lead here
    following: int | None = None
    target: int | None = None


def executable(instruction: Instruction) -> bool:
    """Can a region execute it?"""
    op = instruction.op
    return op.name in OWN or op.piece is not None and not (op.rounds and instruction.rm not in (0, 7))


class Former:
    """Forms one region."""

    def __init__(self, request: Request, tables: Tables) -> None:
        self.request = request
        self.tables = tables
        self.steps: dict[Place, Step] = {}

    def word(self, pc: int) -> int | None:
        """The instruction at `pc`, if the template engine has translated it."""
        page = self.request.pages.get(pc & -PAGE)
        offset = pc & (PAGE - 1)
        if page is None or not page.has(offset):
            return None
        low = int.from_bytes(page.data[offset : offset + 2], "little")
        if low & 3 != 3:
            return low
        if offset == PAGE - 2:
            return None  # the other half is in the next page: templates do not go there either
        return low | int.from_bytes(page.data[offset + 2 : offset + 4], "little") << 16

    def step(self, place: Place) -> Step | None:
        """The step at a place, new or known; None if it cannot be in the region."""
        if place in self.steps:
            return self.steps[place]
        if len(self.steps) >= LIMIT or (word := self.word(place[0])) is None:
            return None
        instruction = self.tables.decode(word)
        if instruction is None:
            return None
        self.steps[place] = made = Step(place, instruction)
        return made

    def lead(self, step: Step) -> None:
        """Find out where control goes from a step."""
        pc, calls = step.place
        i = step.instruction
        if step.stops:
            return
        match i.op.kind:
            case "branch":
                step.following = (step.after, calls)
                self.aim(step, pc + i.imm, calls)
            case "jump" if i.rd == 0:
                self.aim(step, pc + i.imm, calls)
            case "jump":
                self.call(step, pc + i.imm)
            case "jump_register" if i.rd == 0 and i.imm == 0 and calls and calls[-1][0] == i.rs1:
                self.aim(step, calls[-1][1], calls[:-1])
            case "jump_register" if (page := self.page_of(step)) is not None:
                if i.rd == 0:
                    self.aim(step, page + i.imm & -2, calls)
                else:
                    self.call(step, page + i.imm & -2)
            case "jump_register":
                pass
            case _:
                step.following = (step.after, calls)

    def aim(self, step: Step, address: int, calls: Calls) -> None:
        """Let the step's transfer go to an address."""
        step.goes_to = address & (1 << 64) - 1
        step.target = (step.goes_to, calls)

    def call(self, step: Step, address: int) -> None:
        """A call: followed, unless it is too deep, or leads into a function that is being called already."""
        calls = step.place[1]
        step.goes_to = address & (1 << 64) - 1
        if step.instruction.rd in LINKS and len(calls) < DEPTH and step.goes_to != self.request.entry:
            step.target = (step.goes_to, (*calls, (step.instruction.rd, step.after)))

    def page_of(self, step: Step) -> int | None:
        """What the auipc right before a jalr leaves in its register: the halves of a far call or jump."""
        before = self.steps.get((step.pc - 4, step.place[1]))
        if before is None or before.instruction.op.name != "auipc" or before.instruction.rd != step.instruction.rs1:
            return None
        return before.pc + before.instruction.imm

    def form(self) -> list[Block]:
        """The blocks of the region, the entry first; empty if there is nothing worth compiling."""
        entry: Place = (self.request.entry, ())
        if self.step(entry) is None:
            return []
        waiting = deque([entry])
        seen = {entry}
        while waiting:
            step = self.steps[waiting.popleft()]
            self.lead(step)
            for place in (step.following, step.target):
                if place is not None and place not in seen and self.step(place) is not None:
                    seen.add(place)
                    waiting.append(place)
        if sum(not s.stops for s in self.steps.values()) < WORTH:
            return []
        return self.blocks(entry)

    def blocks(self, entry: Place) -> list[Block]:
        """The steps as basic blocks, in an order in which most blocks stand behind the one that leads to them."""
        arrivals: dict[Place, int] = {}
        heads = {entry}
        for step in self.steps.values():
            for next in (step.following, step.target):
                if next in self.steps and next is not None:
                    arrivals[next] = arrivals.get(next, 0) + 1
            if step.target in self.steps and step.target is not None:
                heads.add(step.target)
            if step.transfers and step.following in self.steps and step.following is not None:
                heads.add(step.following)
        heads |= {place for place, n in arrivals.items() if n > 1}
        made: dict[Place, Block] = {}
        waiting = [entry]
        while waiting:
            head = waiting.pop()
            if head in made:
                continue
            block = made[head] = Block(len(made))
            place: Place | None = head
            while place is not None and place in self.steps and (place == head or place not in heads):
                step = self.steps[place]
                block.steps.append(step)
                place = None if step.transfers else step.following
            last = block.steps[-1]
            for successor in (last.target, last.following):  # the one that follows is popped first
                if successor is not None and successor in self.steps:
                    waiting.append(successor)
        for block in made.values():
            last = block.steps[-1]
            if last.following in made and last.following is not None:
                block.following = made[last.following].number
                made[last.following].before.append(block.number)
            if last.target in made and last.target is not None:
                block.target = made[last.target].number
                made[last.target].before.append(block.number)
        return list(made.values())


def form(request: Request, tables: Tables) -> list[Block]:
    """The basic blocks of the region around the request's entry; empty if it is not worth compiling."""
    return Former(request, tables).form()
