"""Watches what the servers log while faults strike: an error that no fault explains is a finding."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

_WATCHED = ("transaction", "payment", "channel", "accounting", "sandbox")
_SERIOUS = frozenset({"error", "critical"})
_OUTAGES = frozenset({"DATABASE_UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", "DEADLINE_TOO_SHORT"})
_EXPLAINED = frozenset({"commit outcome unknown", "worker failed"})
_SERIOUS_WORDS = (" ERROR ", " CRITICAL ", "Traceback", "Error:")
_SHOWN = 20


class ServerLogs:
    """The log files of one center, read from where the last look ended."""

    def __init__(self, folder: Path) -> None:
        self._files = {name: folder / f"{name}.log" for name in _WATCHED}
        self._offsets: Counter[str] = Counter()

    def check(self) -> None:
        """Fails with what is serious and unexplained since the last look."""
        found = self.unexpected()
        assert found == [], "\n".join(found)

    def unexpected(self) -> list[str]:
        """Lines since the last look that are serious and not explained by an outage."""
        found = []
        for name, file in self._files.items():
            if not file.exists():
                continue
            with file.open("rb") as log:
                log.seek(self._offsets[name])
                text = log.read()
            complete, _, _ = text.rpartition(b"\n")
            self._offsets[name] += len(complete) + bool(complete)
            found += [
                f"{name}: {line}"
                for line in complete.decode(errors="replace").splitlines()
                if _is_serious(line)
            ]
        return found[:_SHOWN]


def _is_serious(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return any(word in line for word in _SERIOUS_WORDS)
    if not isinstance(entry, dict):
        return True
    return "exception" in entry or (entry.get("level") in _SERIOUS and not _is_explained(entry))


def _is_explained(entry: dict[str, Any]) -> bool:
    return entry.get("reason") in _OUTAGES or entry.get("event") in _EXPLAINED
