"""The documentation's tools are no part of what is installed: they are found beside the tests."""

import sys
from pathlib import Path

# At the end: first come the installed packages.
sys.path.append(str(Path(__file__).resolve().parents[2] / "docs"))
