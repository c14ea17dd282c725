"""`python -m popek` is `popek`."""

from popek.faces.cli import program

program()
