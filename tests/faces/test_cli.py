"""The command line as a whole: version, speed of starting, errors of commands that need no guest."""

import json
import os
import resource
import statistics
import subprocess

import popek as package
from tests.faces.shell import POPEK, popek


def test_version():
    done = popek("--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"popek {package.__version__}\n")


def test_version_is_quick():
    """SPECIFICATION: `popek --version` takes less than 0.15 s (CPU, so that a busy host does not matter)."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*POPEK, "--version"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(seconds) < 0.15


def test_start_does_not_import_what_it_does_not_need():
    code = (
        "import sys; from popek.faces.cli import main\n"
        "main(['boot', '--help'])\n"
        "heavy = {'llvmlite', 'dataclasses', 'inspect', 'ast', 'zstandard', 'urllib3', 'json', 'subprocess'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([POPEK[0], "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_unknown_image_names_the_nearest():
    done = popek("run", "debain", "--", "true")
    said = done.stderr.decode()
    assert done.returncode == 125 and said.count("\n") == 1
    assert "debain" in said and "debian" in said


def test_broken_output_is_clean():
    done = subprocess.run(["sh", "-c", '"$@" | true', "sh", *POPEK, "boot", "--help"], capture_output=True, text=True)
    assert done.stderr == ""


def test_full_output_device():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*POPEK, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 125 and done.stderr.count("\n") == 1 and "space" in done.stderr


def test_doctor():
    done = popek("doctor", "--offline", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert checks["guest"]["good"] and checks["guest (slow)"]["good"] and checks["jit"]["good"]
    assert b"guests can run on this host" in popek("doctor", "--offline").stdout


def test_images(tmp_path):
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    rows = json.loads(popek("image", "ls", "--json", env=env).stdout)
    assert {row["name"]: row["built"] for row in rows} == {"busybox": False, "debian": False}
    assert b"not built" in popek("image", "ls", env=env).stdout
    assert popek("image", "rm", "debian", env=env).returncode == 1
    assert popek("image", "rm", "debain", env=env).returncode == 125
    assert popek("prune", env=env).stdout == b"freed 0.0 MB\n"
