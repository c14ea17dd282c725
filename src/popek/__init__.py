"""Popek: a virtual machine monitor. Only the version lives here; importing the package must stay free of work."""

__version__ = "0.1.0"
