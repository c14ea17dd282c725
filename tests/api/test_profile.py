"""api/profile: names fit the place they are given to, and only that; tables and pictures can stand any name."""

import gzip
import struct
import xml.dom.minidom

import pytest

from popek.api.profile import Profile, Row, Stack, table, tasks
from popek.api.profile_flame import flame
from popek.api.profile_kernel import read
from popek.api.profile_names import Name, Names, given
from popek.api.profile_pages import Contents, physical
from popek.api.profile_programs import Programs
from popek.api.sampler import Place, Sample, Seen
from popek.api.spec import Spec
from popek.base.errors import BadInput
from popek.devices.bus import GuestMemory
from tests import elves
from tests.abi import test_kallsyms

PAGED = 8 << 60
LOAD, LINKED = 0x8020_0000, 0xFFFFFFFF_80000000


def silent(text: str) -> None:
    """Told nothing."""


def seen(*places: tuple[int, int, int, int], pages: tuple[bytes, ...] = (), satp: int = PAGED) -> Seen:
    """One sample each of (mode, pc, physical page, number of content)."""
    return Seen({Sample(mode, satp, b"", (Place(*place),)): 1 for mode, *place in places}, [b"", *pages])


def names_of(found: Seen, kernel: str = "", symbols: tuple[str, ...] = ()) -> list[str]:
    spec = Spec(kernel=str(kernel))
    names = Names(spec, read(spec, silent), [given(str(one)) for one in symbols], [found], silent)
    return [names.stack(sample, found.pages)[-1].text() for sample in found.samples]


@pytest.fixture
def image(tmp_path):
    """A Linux image with symbols: function_n at 0x1000 + 16 n."""
    path = tmp_path / "Image"
    head = elves.linux_image(size=0x8000)
    path.write_bytes(head + test_kallsyms.blob(test_kallsyms.some(), "6.4"))
    return path


def test_a_kernel_is_named_wherever_it_runs(image):
    moved = LINKED + 0x1340_0000  # by KASLR
    found = seen((1, moved + 0x1014, LOAD + 0x1000, 0), (1, moved + 0x1024, LOAD + 0x1000, 0))
    assert names_of(found, image) == ["function_1.part.0", "function_2.part.0"]
    early = seen((1, LOAD + 0x1014, LOAD + 0x1000, 0), satp=0)
    assert names_of(early, image) == ["function_1.part.0"]


def test_a_packed_kernel_is_named(image, tmp_path):
    (tmp_path / "Image.gz").write_bytes(gzip.compress(image.read_bytes()))
    found = seen((1, LINKED + 0x1014, LOAD + 0x1000, 0))
    assert names_of(found, tmp_path / "Image.gz") == ["function_1.part.0"]


def test_a_kernel_of_elf_is_named_where_it_lies(tmp_path):
    """Linked for the upper half, as a vmlinux; its symbol table or that of a file with more counts."""
    whole = elves.elf(bytes(0x2000), 0, vaddr=LINKED)
    (tmp_path / "vmlinux").write_bytes(elves.sections(whole, [], [("_start", LINKED, 8), ("run", LINKED + 0x1010, 32)]))
    found = seen((1, LINKED + 0x1014, LOAD + 0x1000, 0), (0, LINKED + 0x1014, LOAD + 0x1000, 0))
    unknown = f"{LINKED + 0x1000:#x}..{LINKED + 0x1FFF:#x}"
    assert names_of(found, tmp_path / "vmlinux") == ["run", unknown]
    (tmp_path / "stripped").write_bytes(whole)
    assert names_of(found, tmp_path / "stripped") == [unknown, unknown]
    assert names_of(found, tmp_path / "stripped", (tmp_path / "vmlinux",)) == ["run", unknown]


def test_firmware_is_named_by_its_elf_file(tmp_path):
    code = bytes(range(256)) * 16
    (tmp_path / "fw.elf").write_bytes(program(("sbi_trap", 0x100, 64), code=code, vaddr=0x0))
    found = seen((3, 0x8000_0110, 0x8000_0000, 1), pages=(code,))
    assert names_of(found, symbols=(tmp_path / "fw.elf",)) == ["sbi_trap [fw.elf]"]


def test_time_belongs_to_where_a_jump_came_from(image):
    """At the first instruction of a function to its caller; a pointer that is gone to nobody."""
    entry, inside = (Place(LINKED + at, LOAD + 0x1000, 0) for at in (0x1020, 0x1014))
    link = Place(LINKED + 0x1044, LOAD + 0x1000, 0)
    spec = Spec(kernel=str(image))
    samples = [
        Sample(1, PAGED, b"", (entry, inside), link), Sample(1, PAGED, b"", (inside, entry), link),
        Sample(1, PAGED, b"", (Place(1, 0, 0), inside)),
    ]  # fmt: skip
    found = Seen(dict.fromkeys(samples, 1), [b""])
    names = Names(spec, read(spec, silent), [], [found], silent)
    assert [[name.function for name in names.stack(sample, found.pages)] for sample in samples] == [
        ["function_1.part.0", "function_4.part.0"], ["function_2.part.0", "function_1.part.0"],
        ["function_1.part.0", "function_1.part.0 -> ?"],
    ]  # fmt: skip


def test_kernel_symbols_name_nothing_else(image):
    found = seen(
        (1, LINKED + 0x1014, LOAD + 0x1000, 0), (1, LINKED + 0x1024, LOAD + 0x1000, 0),
        (1, 0xFFFFFFFF_01570014, LOAD + 0x1000, 0),  # a module in memory that was the kernel's
        (0, 0x1_1014, LOAD + 0x1000, 0),  # a process in such memory
        (1, LINKED + 0x1014 + (64 << 20), LOAD + 0x1000 + (64 << 20), 0),
    )  # fmt: skip
    assert names_of(found, image)[2:] == [
        "0xffffffff01570000..0xffffffff01570fff", "0x11000..0x11fff", "0xffffffff84001000..0xffffffff84001fff"
    ]  # fmt: skip


def test_a_map_of_the_kernel_moves_with_it(image, tmp_path):
    (tmp_path / "System.map").write_text(
        f"{LINKED:x} T _start\n{LINKED + 0x1000:x} T better\n{LINKED + 0x1014:x} d data\n"
    )
    found = seen((1, LINKED + 0x40_0000 + 0x1010, LOAD + 0x1000, 0), (0, LINKED + 0x1010, 0, 0))
    assert names_of(found, image, (tmp_path / "System.map",)) == [
        "better",
        f"{LINKED + 0x1000:#x}..{LINKED + 0x1FFF:#x}",
    ]
    found = seen((1, LINKED + 0x1014, LOAD + 0x1000, 0))  # data ends what comes before; the kernel's own is next
    assert names_of(found, image, (tmp_path / "System.map",)) == ["function_1.part.0"]


def program(*symbols: tuple[str, int, int], code: bytes, vaddr: int = 0x1_0000) -> bytes:
    return elves.sections(elves.elf(code, vaddr, kind=3), [], [*symbols])


def test_programs_are_known_by_their_pages(tmp_path):
    code = bytes(range(256)) * 20
    (tmp_path / "prog").write_bytes(program(("main", 0x1_0010, 16), code=code))
    first, last = code[:4096], code[4096:].ljust(4096, b"\0")
    found = seen(
        (0, 0x5555_1018, 0x9000_0000, 1), (0, 0x5555_1028, 0x9000_0000, 1), (0, 0x5555_2018, 0x9000_1000, 2),
        (0, 0x1_0018, 0x9000_2000, 3), pages=(first, last, bytes(4096)),
    )  # fmt: skip
    assert names_of(found, symbols=(tmp_path / "prog",)) == [
        "main [prog]", "0x10000..0x10fff [prog]", "0x11000..0x11fff [prog]", "0x10000..0x10fff"
    ]  # fmt: skip


def test_a_page_of_two_programs_goes_to_the_one_that_runs():
    common, one, other = (bytes([i]) * 4096 for i in (1, 2, 3))
    programs = Programs([common, one, other])
    programs.add("one", memoryview(program(("f", 0x1_0000, 9), code=common + one)))
    programs.add("other", memoryview(program(("g", 0x1_0000, 9), code=common + other)))
    pages = ["", common, one, other]
    samples = {
        Sample(0, space, b"", (Place(page, 0, number),)): 1
        for space, page, number in ((8, 0x4000, 1), (8, 0x5000, 3), (9, 0x4000, 1), (9, 0x5000, 2))
    }
    programs.weigh(samples, pages)
    found = [programs.at(sample, sample.places[0], pages)[0].name for sample in samples]
    assert found == ["other", "other", "one", "one"]


def test_a_file_with_debugging_information_explains_the_one_that_runs(tmp_path):
    """It has the build ID, the symbols and nothing of the code."""
    code = bytes(range(256)) * 16
    note = (b".note.gnu.build-id", 7, 2, 0, struct.pack("<3I4s", 4, 4, 3, b"GNU") + b"1234")
    (tmp_path / "prog").write_bytes(elves.sections(elves.elf(code, 0x1_0000, kind=3), [note], [("main", 0x1_0010, 8)]))
    symbols = [("local", 0x1_0020, 16), ("other", 0x1_0010, 16)]
    (tmp_path / "prog.debug").write_bytes(elves.sections(elves.elf(b"", 0x1_0000, kind=3), [note], symbols))
    found = seen((0, 0x5021, 0x9000_0000, 1), (0, 0x5011, 0x9000_0000, 1), pages=(code,))
    assert names_of(found, symbols=(tmp_path / "prog",)) == ["0x10000..0x10fff [prog]", "main [prog]"]
    assert names_of(found, symbols=(tmp_path / "prog", tmp_path / "prog.debug")) == ["local [prog]", "main [prog]"]


def test_only_the_command_counts_in_a_session():
    told = []

    class Machine:
        def watch(self, period, name_at):
            return self

        def begin(self):
            told.append("begin")

        def seen(self):
            return Seen({}, [b""])

    class Session:
        def begins(self):
            told.append("nobody hears")

    profile, session = Profile([], silent), Session()
    with pytest.raises(KeyError), profile.watching(Machine(), session):
        assert not told and not profile.started()
        session.begins()
        raise KeyError
    assert told == ["begin"] and profile.started()
    with profile.watching(Machine()):
        assert told == ["begin", "begin"]


def test_symbols_with_an_address(tmp_path):
    (tmp_path / "prog").write_bytes(program(("main", 0x1_0010, 16), code=bytes(64)))
    found = seen((0, 0x7000_0018, 0, 0), (0, 0x1_0018, 0, 0), (1, 0x7000_0018, 0, 0))
    text = f"{tmp_path}/prog@6fff0000"
    assert names_of(found, symbols=(text,)) == [
        "main [prog]", "0x10000..0x10fff", "0x70000000..0x70000fff"
    ]  # fmt: skip
    with pytest.raises(BadInput, match="no address"):
        given(f"{tmp_path}/prog@here")
    (tmp_path / "odd@1").write_text("1000 T name\n")
    assert given(f"{tmp_path}/odd@1").functions is None
    (tmp_path / "none").write_text("nothing here\n")
    with pytest.raises(BadInput, match="no symbols"):
        given(f"{tmp_path}/none")


def stack(where: str, *names: str, task: str = "") -> Stack:
    return Stack(where, task, tuple(Name(name) for name in names))


def test_a_stack_counts_once_in_a_total():
    made = {stack("kernel", "a", "b", "a", task="x"): 3, stack("kernel", "a", task="y"): 1}
    assert table(made) == [Row("a", "", "kernel", 4, 4), Row("b", "", "kernel", 0, 3)]
    assert "a: 4 samples" in flame({stack("kernel", "a"): 4}, "t & t")
    assert tasks(made) == {"x": 3, "y": 1} and tasks({stack("user", "a"): 1}) == {}


def test_names_cannot_break_the_picture():
    made = {stack("user", "</svg>&\"'\0\x1b[31m\ud800\u202e", "\n", task="<task>"): 1000}
    root = xml.dom.minidom.parseString(flame(made, "\x1b</title>").encode())
    titles = [t.firstChild.data for t in root.getElementsByTagName("title")]
    assert "</svg>&\"'??[31m??: 1000 samples, 100.00 %" in titles
    xml.dom.minidom.parseString(flame({}, "nothing").encode())


def test_names_of_files_cannot_reach_the_terminal(tmp_path):
    (tmp_path / "a\x1bb").write_bytes(program(("x\x1b[2J\xe9", 0x1_0000, 16), code=b"\1" * 4096))
    found = seen((0, 0x5000, 0x9000_0000, 1), pages=(b"\1" * 4096,))
    assert names_of(found, symbols=(tmp_path / "a\x1bb",)) == ["x?[2J? [a?b]"]


def test_page_tables_from_outside():
    ram = memoryview(bytearray(16 << 12))
    memory = GuestMemory(0x8000_0000, ram)

    def entry(table: int, index: int, page: int, bits: int) -> None:
        at = (table << 12) + index * 8
        ram[at : at + 8] = ((0x80000 + page) << 10 | bits).to_bytes(8, "little")

    entry(0, 1, 1, 1)
    entry(1, 2, 2, 1)
    entry(2, 3, 5, 0xDB)
    entry(0, 2, 0, 0xDB)
    satp = 8 << 60 | 0x80000
    assert physical(memory, 0x4040_3123, 0, satp) == 0x8000_5123
    assert physical(memory, 0x8000_5123, 0, satp) == 0x8000_5123  # a page of 1 GiB
    assert physical(memory, 0x4040_4123, 0, satp) == physical(memory, 0x123, 1, satp) == 0
    assert physical(memory, 0x8000_0123, 3, satp) == 0x8000_0123
    assert physical(memory, 0x123, 3, satp) == physical(memory, 0x123, 0, 15 << 60) == 0


def test_contents_are_kept_once():
    contents = Contents()
    assert [contents.number(page) for page in (b"a", b"b", b"a")] == [1, 2, 1]
    assert contents.pages == [b"", b"a", b"b"]
