"""api/session: the protocol of a run, with a guest played by the test through the ports' own interface."""

import os
import select

import pytest

from popek.api.session import Session
from popek.base.errors import HostProblem
from popek.images import agent

REQUEST = agent.requests(["uname", "-a"], False, {}, None)


class FakeMachine:
    def __init__(self):
        self.done, self.end = os.pipe()
        self.stopped = False
        self.sizes = []

    def stop(self):
        self.stopped = True

    def resize(self, columns, rows):
        self.sizes.append((columns, rows))


@pytest.fixture
def make():
    sessions = []

    def start(tty=False, stdout=-1):
        session = Session(REQUEST, tty=tty, size=(100, 30), stdout=stdout, stderr=-1)
        machine = FakeMachine()
        session.attach(machine)
        sessions.append(session)
        return session, machine

    yield start
    for session in sessions:
        os.close(session.machine.done)
        os.close(session.machine.end)
        session.close()


def taken(port):
    """What the guest would read from a port."""
    buffer = bytearray(1000)
    return bytes(buffer[: port.take([memoryview(buffer)])])


def is_done(session):
    return bool(select.select([session.done], [], [], 0)[0])


def say(session, text):
    session.control.put(text, lambda: None)


def test_a_run(make):
    session, machine = make()
    session.feed(b"early ")
    assert taken(session.input) == b"" and session.backlog() == 6
    say(session, b"ready 1\n")
    assert taken(session.control) == REQUEST and machine.sizes == [(100, 30)]
    session.feed(b"late")
    assert taken(session.input) == b"early late"
    session.end_of_input()
    assert not session.input.input_open
    assert not is_done(session) and session.undecided
    say(session, b"ex")
    say(session, b"it 7\n")
    assert is_done(session) and session.result() == 7


def test_input_that_ends_before_the_guest_is_ready(make):
    session, _ = make()
    session.feed(b"all of it")
    session.end_of_input()
    say(session, b"ready 1\n")
    assert session.input.input_open
    assert taken(session.input) == b"all of it"
    assert not session.input.input_open


def test_a_terminal_gets_ctrl_d_and_sizes(make):
    session, machine = make(tty=True)
    session.resize((50, 20))
    assert machine.sizes == []
    say(session, b"ready 1\n")
    session.resize((60, 25))
    assert machine.sizes == [(50, 20), (60, 25)]
    session.end_of_input()
    assert taken(session.input) == b"\x04"


def test_what_the_agent_complains_of(make):
    session, _ = make()
    say(session, b"ready 1\nerror no disk\n")
    assert is_done(session)
    with pytest.raises(HostProblem, match="no disk"):
        session.result()


def test_an_image_of_another_time(make):
    session, _ = make()
    say(session, b"ready 2\n")
    assert is_done(session)
    with pytest.raises(HostProblem, match="another version"):
        session.result()


def test_a_guest_that_dies(make):
    session, machine = make()
    session.serial(b"[1.0] fine\r\n[1.1] Kernel panic - not syncing: no init\r\n")
    os.write(machine.end, b"x")
    assert is_done(session) and session.undecided
    with pytest.raises(HostProblem, match="Kernel panic - not syncing: no init"):
        session.result()


def test_lost_output_ends_the_run(make):
    read, write = os.pipe()
    session, _ = make(stdout=write)
    os.close(read)
    session.ports[agent.PORTS.index(agent.STDOUT)].put(b"hello", lambda: None)
    assert is_done(session)
    with pytest.raises(BrokenPipeError):
        session.result()
    os.close(write)
