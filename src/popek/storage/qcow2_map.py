"""From an offset in the guest's disk to a table entry of a qcow2 image: L1 and L2 tables, in memory as far as they fit.

No data clusters here, no order of writes: qcow2.py says when tables go to the disk.
"""

from __future__ import annotations

from collections import OrderedDict

from popek.storage.errors import BadDisk
from popek.storage.file import File
from popek.storage.qcow2_layout import COPIED, OFFSET, Header
from popek.storage.qcow2_refs import Refcounts
from popek.storage.qcow2_table import Table

MEMORY = 8 << 20  # for L2 tables
MAX_TABLES = 1 << 20  # of an image that is written


class Map:
    """The active L1 table and its L2 tables."""

    def __init__(self, file: File, header: Header) -> None:
        self.file = file
        self.cluster = header.cluster
        self.entries = header.cluster // 8  # of an L2 table
        data = bytearray(file.read(header.l1_offset, 8 * header.l1_entries))
        self.l1 = Table(header.l1_offset, 6, data)
        self.most = max(4, MEMORY // header.cluster)
        self.tables: OrderedDict[int, Table] = OrderedDict()  # by number, the most recently used last

    def metadata(self) -> set[int]:
        """Offsets of the clusters that the header and the tables are in. Raises BadDisk if one has two uses."""
        end = self.l1.offset + 8 * len(self.l1.entries)
        found = {0, *range(self.l1.offset, end, self.cluster)}
        tables = [entry & OFFSET for entry in self.l1.entries if entry]
        if len(tables) > MAX_TABLES:
            raise BadDisk(f"disk {self.file.path}: {len(tables)} L2 tables", "larger clusters make it fewer")
        known = len(found)
        found.update(tables)
        if len(found) != known + len(tables):
            raise BadDisk(f"disk {self.file.path}: damaged: an L2 table has two uses", "see what qemu-img check says")
        return found

    def find(self, number: int) -> Table | None:
        """L2 table `number`, None if nothing of its part of the disk was ever written."""
        table = self.tables.get(number)
        if table is not None:
            self.tables.move_to_end(number)
            return table
        offset = self.l1.entries[number] & OFFSET
        if not offset:
            return None
        if offset % self.cluster or offset >= self.file.size:
            raise BadDisk(f"disk {self.file.path}: damaged: an L2 table at {offset:#x}", "see what qemu-img check says")
        return self._keep(number, Table(offset, 6, self.file.read(offset, self.cluster)))

    def own(self, number: int, refcounts: Refcounts) -> Table:
        """L2 table `number` to be changed: made if there is none, copied if a snapshot uses it, too."""
        table = self.find(number)
        if table is not None and self.l1.entries[number] & COPIED:
            return table
        offset, _ = refcounts.allocate(1)
        try:
            if table is None:
                new = Table(offset, 6, bytes(self.cluster))
            else:
                new = Table(offset, 6, b"")
                new.entries = table.entries[:]
                # a table that is shared has no cluster of its own: copies of COPIED would be lies
            new.write_all(self.file)
        except BaseException:
            refcounts.cancel(offset, 1)
            raise
        if table is not None:
            refcounts.free_later(table.offset, self.cluster)
            refcounts.metadata.discard(table.offset)
        refcounts.metadata.add(offset)
        self.l1.set(number, offset | COPIED)
        return self._keep(number, new)

    @property
    def crowded(self) -> bool:
        """Is it time to write, lest memory fills up?"""
        return len(self.tables) > self.most

    @property
    def dirty(self) -> bool:
        return self.l1.dirty or any(table.dirty for table in self.tables.values())

    def write(self) -> None:
        """Write what has changed."""
        for table in self.tables.values():
            table.write(self.file)
        self.l1.write(self.file)

    def _keep(self, number: int, table: Table) -> Table:
        self.tables[number] = table
        self.tables.move_to_end(number)
        if len(self.tables) > self.most:
            for old in [n for n, t in self.tables.items() if not t.dirty and n != number]:
                del self.tables[old]
                if len(self.tables) <= self.most:
                    break
        return table
