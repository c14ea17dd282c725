"""What all tests share: programs started by tests find this checkout's popek."""

import os
from pathlib import Path

SOURCES = str(Path(__file__).resolve().parent.parent / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SOURCES, os.environ.get("PYTHONPATH"))))
