"""`python -m popek` is `popek`."""

import sys

from popek.faces.cli import main

sys.exit(main())
