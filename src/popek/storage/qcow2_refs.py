"""Which clusters of a qcow2 image are in use: reference counts, finding free clusters, giving them back.

A cluster's count is written before anything that refers to it, and lowered only after what referred to it is gone
from the disk. So a crash leaks clusters at worst; it never leaves one in use with a count of zero.
"""

from __future__ import annotations

from struct import Struct

from popek.storage.errors import BadDisk, DiskFull
from popek.storage.file import File
from popek.storage.qcow2_layout import MAX_REFCOUNT_TABLE, OFFSET, REFCOUNT_TABLE_AT, Header
from popek.storage.qcow2_table import Table

MEMORY = 4 << 20  # for refcount blocks, unless more have changed
_PLACE = Struct(">QI")


class Refcounts:
    """Reference counts of clusters, by cluster number. `metadata` are offsets that guest data may never lie at."""

    def __init__(self, file: File, header: Header, metadata: set[int]) -> None:
        self.file = file
        self.cluster = header.cluster
        self.order = header.refcount_order
        self.per_block = self.cluster * 8 >> self.order
        self.metadata = metadata
        self.table = Table(header.refcount_table, 6, file.read(header.refcount_table, self._bytes(header)))
        self.blocks: dict[int, Table] = {}
        self.freed: list[int] = []  # clusters that lose a reference once the tables are on the disk
        self.next = 1  # no cluster before this one is free
        self.most = max(2, MEMORY // (self.per_block * max(1, 1 << self.order >> 3)))
        blocks = [entry & OFFSET for entry in self.table.entries if entry]
        known = len(metadata) + header.refcount_clusters + len(blocks)
        metadata.update(range(header.refcount_table, header.refcount_table + self._bytes(header), self.cluster))
        metadata.update(blocks)
        if len(metadata) != known:
            raise self._damaged("a refcount table has two uses")

    def _bytes(self, header: Header) -> int:
        return header.refcount_clusters * header.cluster

    def count(self, cluster: int) -> int:
        block = self._block(cluster // self.per_block)
        return block.entries[cluster % self.per_block] if block else 0

    def allocate(self, most: int) -> tuple[int, int]:
        """Up to `most` free clusters in a row, now in use: offset in the file, and how many."""
        while True:
            index, start = divmod(self.next, self.per_block)
            block = self._block(index) or self._new_block(index)
            try:
                first = block.entries.index(0, start)
            except ValueError:
                self.next = (index + 1) * self.per_block
                continue
            break
        n = 0
        while n < most and first + n < self.per_block and not block.entries[first + n]:
            block.set(first + n, 1)
            n += 1
        self.next = index * self.per_block + first + n
        offset = (index * self.per_block + first) * self.cluster
        if not self.metadata.isdisjoint(range(offset, offset + n * self.cluster, self.cluster)):
            raise self._damaged(f"a table at {offset:#x} counts as free")
        return offset, n

    def cancel(self, offset: int, n: int) -> None:
        """Take back an allocation that nothing refers to."""
        for cluster in range(offset // self.cluster, offset // self.cluster + n):
            self._lower(cluster)

    def free_later(self, offset: int, length: int) -> None:
        """The clusters from `offset` on lose a reference when `free` is called."""
        self.freed.extend(range(offset // self.cluster, (offset + length - 1) // self.cluster + 1))

    def free(self) -> None:
        """Nothing on the disk refers to what was freed any more."""
        freed, self.freed = self.freed, []
        holes: list[int] = []
        for cluster in freed:
            if self._lower(cluster) == 0:
                if holes and holes[-1] + 1 != cluster:
                    self._punch(holes)
                    holes = []
                holes.append(cluster)
        self._punch(holes)

    def write(self) -> bool:
        """Write what has changed. False if nothing had."""
        changed = [block for block in self.blocks.values() if block.dirty]
        for block in changed:
            block.write(self.file)
        return bool(changed)

    @property
    def crowded(self) -> bool:
        """Is it time to write, lest memory fills up?"""
        return len(self.blocks) > self.most or len(self.freed) > 1 << 16

    def _punch(self, clusters: list[int]) -> None:
        if clusters:
            self.file.punch(clusters[0] * self.cluster, len(clusters) * self.cluster)

    def _lower(self, cluster: int) -> int:
        block = self._block(cluster // self.per_block)
        count = block.entries[cluster % self.per_block] if block else 0
        if block is None or not count:
            raise self._damaged(f"cluster {cluster} is in use and counts as free")
        block.set(cluster % self.per_block, count - 1)
        if count == 1:
            self.next = min(self.next, cluster)
        return count - 1

    def _block(self, index: int) -> Table | None:
        """The counts of clusters from `index` * `per_block` on, None if all are zero."""
        block = self.blocks.get(index)
        if block is None and index < len(self.table.entries) and (offset := self.table.entries[index]):
            if offset % self.cluster or offset >= self.file.size:
                raise self._damaged(f"a refcount block at {offset:#x}")
            self._make_room()
            block = self.blocks[index] = Table(offset, self.order, self.file.read(offset, self.cluster))
        return block

    def _make_room(self) -> None:
        if len(self.blocks) >= self.most:
            for index in [index for index, block in self.blocks.items() if not block.dirty]:
                del self.blocks[index]

    def _new_block(self, index: int) -> Table:
        """A block for clusters that had none: the first of them becomes the block. On the disk at once (it is rare)."""
        if index >= len(self.table.entries):
            return self._longer_table(index)
        block = self._fresh_block(index, 1)
        self.file.sync()
        self.table.set(index, block.offset)
        self.table.write(self.file)
        self.file.sync()
        return block

    def _fresh_block(self, index: int, used: int) -> Table:
        offset = index * self.per_block * self.cluster
        if offset + self.cluster > OFFSET or offset in self.metadata:
            raise self._damaged(f"no refcount block can be at {offset:#x}")
        block = Table(offset, self.order, bytes(self.cluster))
        for cluster in range(used):
            block.set(cluster, 1)
        block.write_all(self.file)
        self.metadata.add(offset)
        self.blocks[index] = block
        return block

    def _longer_table(self, index: int) -> Table:
        """A table twice as long, behind the new block that its last entry names."""
        old = self.table
        clusters = -(-max(2 * len(old.entries), index + 1) * 8 // self.cluster)
        if clusters * self.cluster > MAX_REFCOUNT_TABLE or clusters >= self.per_block:
            raise DiskFull(f"disk {self.file.path}: a qcow2 image with such small clusters cannot become larger")
        block = self._fresh_block(index, 1 + clusters)
        table = Table(block.offset + self.cluster, 6, bytes(clusters * self.cluster))
        for at, entry in enumerate(old.entries):
            table.entries[at] = entry
        table.entries[index] = block.offset
        table.write_all(self.file)
        self.file.sync()
        self.file.write(REFCOUNT_TABLE_AT, _PLACE.pack(table.offset, clusters))
        self.file.sync()
        self.table = table
        self.metadata.update(range(table.offset, table.offset + clusters * self.cluster, self.cluster))
        self.free_later(old.offset, 8 * len(old.entries))
        self.metadata.difference_update(range(old.offset, old.offset + 8 * len(old.entries), self.cluster))
        return block

    def _damaged(self, what: str) -> BadDisk:
        return BadDisk(f"disk {self.file.path}: damaged: {what}", "see what qemu-img check says")
