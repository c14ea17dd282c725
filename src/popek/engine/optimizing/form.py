"""Which guest instructions make a region, and its graph of basic blocks.

Lives here: following direct control flow from the entry, calls included, as far as the template engine has been there
already and the region stays small. Not here: values and code (lower).

An instruction is known by its address and the calls that led to it: a function that is called at two places is in the
region twice, and a return leads to one place.
"""

from __future__ import annotations

from collections import deque

from popek.engine.optimizing.image import PAGE, Request
from popek.engine.optimizing.tables import Instruction, Tables

LIMIT = 250  # instructions
DEPTH = 3  # calls within calls
LARGEST = 500  # if that makes a loop whole
LONG = 60  # instructions that are worth compiling even where there is no loop
CASES = 24  # places that an indirect jump may lead to
NEAR = 2048  # bytes within which they lie
LINKS = (1, 5)  # registers that calls leave the return address in (Unprivileged ISA, table "Return-address stack")
#: What has no piece, and is made by `steps` and `control`.
OWN = frozenset("lui auipc jal jalr lb lh lw ld lbu lhu lwu sb sh sw sd flw fld fsw fsd".split())

Calls = tuple[tuple[int, int], ...]  # (link register, return address), the innermost last
Place = tuple[int, Calls]


class Step:
    """One instruction of the region, and where control goes from it."""

    __slots__ = ("place", "instruction", "following", "target", "goes_to", "cases", "stops")

    def __init__(self, place: Place, instruction: Instruction) -> None:
        self.place = place
        self.instruction = instruction
        self.stops = not executable(instruction)  # must be executed the long way
        self.following: Place | None = None  # straight on, or a branch that is not taken
        self.target: Place | None = None  # of a jump, a call, a return or a taken branch
        self.goes_to: int | None = None  # address of `target`, also where that is not in the region
        self.cases: list[Place] = []  # of an indirect jump

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
    def leads(self) -> list[Place]:
        """Where it may lead, the likeliest last."""
        return [*self.cases, *(p for p in (self.target, self.following) if p is not None)]


class Block:
    """Straight code. Its last step says where it leads; without one that transfers, to `following`."""

    __slots__ = ("number", "steps", "before", "following", "target", "cases")

    def __init__(self, number: int) -> None:
        self.number = number
        self.steps: list[Step] = []
        self.before: list[int] = []  # numbers of the blocks that lead here, once for each way
        self.following: int | None = None
        self.target: int | None = None
        self.cases: list[tuple[int, int]] = []  # (guest address, block)

    @property
    def after(self) -> list[int]:
        """Numbers of the blocks that this one leads to, once for each way."""
        return [*(b for b in (self.following, self.target) if b is not None), *(b for _, b in self.cases)]


def executable(instruction: Instruction) -> bool:
    """Can a region execute it?"""
    op = instruction.op
    return op.name in OWN or op.piece is not None and not (op.rounds and instruction.rm not in (0, 7))


class Former:
    """Forms one region."""

    def __init__(self, request: Request, tables: Tables, limit: int) -> None:
        self.request = request
        self.tables = tables
        self.limit = limit
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
        if len(self.steps) >= self.limit or (word := self.word(place[0])) is None:
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
                if i.rd == 0 and i.rs1 not in LINKS:
                    self.spread(step)
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

    def spread(self, step: Step) -> None:
        """A jump through a table: to where jumps nearby led so far, but not to where calls return."""
        near = [t for t in sorted(self.request.targets) if abs(t - step.pc) < NEAR and not self.returns_to(t)]
        if len(near) <= CASES:
            step.cases = [(t, step.place[1]) for t in near]

    def returns_to(self, pc: int) -> bool:
        """Is there a call right before?"""
        for length in (2, 4):
            word = self.word(pc - length)
            found = self.tables.decode(word) if word is not None else None
            if found is not None and found.length == length and found.op.name in ("jal", "jalr") and found.rd in LINKS:
                return True
        return False

    def page_of(self, step: Step) -> int | None:
        """What the auipc right before a jalr leaves in its register: the halves of a far call or jump."""
        before = self.steps.get((step.pc - 4, step.place[1]))
        if before is None or before.instruction.op.name != "auipc" or before.instruction.rd != step.instruction.rs1:
            return None
        return before.pc + before.instruction.imm

    def form(self) -> list[Block]:
        """The blocks of the region, the entry first; empty if the entry cannot be in one."""
        entry: Place = (self.request.entry, ())
        if self.step(entry) is None:
            return []
        waiting = deque([entry])
        seen = {entry}
        while waiting:
            step = self.steps[waiting.popleft()]
            self.lead(step)
            for place in reversed(step.leads):
                if place not in seen and self.step(place) is not None:
                    seen.add(place)
                    waiting.append(place)
        return self.blocks(entry)

    def blocks(self, entry: Place) -> list[Block]:
        """The steps as basic blocks: each stands behind one that leads to it, most behind the likeliest."""
        arrivals: dict[Place, int] = {}
        heads = {entry}
        for step in self.steps.values():
            for place in step.leads:
                arrivals[place] = arrivals.get(place, 0) + 1
                if step.transfers:
                    heads.add(place)
        heads |= {place for place, n in arrivals.items() if n > 1}
        made: dict[Place, Block] = {}
        waiting = [entry]
        while waiting:
            head = waiting.pop()
            if head in made:
                continue
            block = made[head] = Block(len(made))
            at: Place | None = head
            while at is not None and at in self.steps and (at == head or at not in heads):
                step = self.steps[at]
                block.steps.append(step)
                at = None if step.transfers else step.following
            waiting.extend(place for place in step.leads if place in self.steps)  # the last one is next
        for block in made.values():
            last = block.steps[-1]
            if last.following in made and last.following is not None:
                block.following = made[last.following].number
            if last.target in made and last.target is not None:
                block.target = made[last.target].number
            block.cases = [(place[0], made[place].number) for place in last.cases if place in made]
        blocks = list(made.values())
        for block in blocks:
            for number in block.after:
                blocks[number].before.append(block.number)
        return blocks


def turns(blocks: list[Block]) -> bool:
    """Is there a loop?"""
    left = {block.number: len(block.before) for block in blocks}
    ready = [n for n, before in left.items() if before == 0]
    while ready:
        n = ready.pop()
        del left[n]
        for after in blocks[n].after:
            left[after] -= 1
            if left[after] == 0:
                ready.append(after)
    return bool(left)


def form(request: Request, tables: Tables) -> list[Block]:
    """The basic blocks of the region around the request's entry; empty if it is not worth compiling."""
    former = Former(request, tables, LIMIT)
    blocks = former.form()
    if turns(blocks):
        return blocks
    if len(former.steps) == LIMIT:
        whole = Former(request, tables, LARGEST).form()
        if turns(whole):
            return whole
    return blocks if sum(not s.stops for s in former.steps.values()) >= LONG else []
