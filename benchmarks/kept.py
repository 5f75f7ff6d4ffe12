"""Rows of an unfinished run: a benchmark that was interrupted goes on where it stopped.

In: the benchmark's name.  Out: the rows measured so far, in `results/<name>.partial.json` until the run is finished.
Invariant: rows were measured with the very sources at hand; with others they are measured again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.timing import RESULTS

ROOT = Path(__file__).parents[1]


class Kept:
    """`rows` by name."""

    def __init__(self, name: str) -> None:
        self._path = RESULTS / f"{name}.partial.json"
        sources = sorted((*ROOT.glob("comprehension/**/*.py"), *ROOT.glob("benchmarks/**/*.py")))
        self._key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        self.rows: dict[str, Any] = {}
        if self._path.exists():
            found = json.loads(self._path.read_text())
            if found["key"] == self._key:
                self.rows = found["rows"]

    def add(self, name: str, row: dict[str, Any]) -> None:
        self.rows[name] = row
        self._path.write_text(json.dumps({"key": self._key, "rows": self.rows}))

    def finish(self) -> None:
        """The rows are saved elsewhere."""
        self._path.unlink(missing_ok=True)
