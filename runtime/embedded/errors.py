"""What can go wrong while parts are started. Invariant: every message says what a person can do next."""

from __future__ import annotations

from pathlib import Path


class EmbeddedError(Exception):
    """A part of the embedded stack cannot be started, reached or stopped."""


class DirectoryInUse(EmbeddedError):
    """Another process already runs parts on this data directory."""

    def __init__(self, *, data_directory: Path, holder: str) -> None:
        self.data_directory = data_directory
        super().__init__(
            f"{data_directory} is already in use by {holder or 'another process'}; "
            "stop that one first, or choose another data directory"
        )


class ProcessFailed(EmbeddedError):
    """A process ended, or did not become ready, while it was being started."""

    def __init__(self, *, name: str, what: str, log_file: Path, last_log_lines: list[str]) -> None:
        self.name = name
        self.log_file = log_file
        self.last_log_lines = last_log_lines
        quoted = "".join(f"\n    {line}" for line in last_log_lines) or "\n    (nothing was logged)"
        super().__init__(f"{name} {what}; the end of {log_file}:{quoted}")
