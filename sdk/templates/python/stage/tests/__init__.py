"""Finds the SDK that came with the plugin."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".millstream" / "python"))
