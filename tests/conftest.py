"""What all tests share: programs started by tests find this checkout's popek; a busy machine fails no property test."""

import os
from pathlib import Path

from hypothesis import settings

SOURCES = str(Path(__file__).resolve().parent.parent / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SOURCES, os.environ.get("PYTHONPATH"))))

settings.register_profile("popek", deadline=None)
settings.load_profile("popek")
