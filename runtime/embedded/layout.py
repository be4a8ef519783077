"""Where things lie in a data directory, and its lock. Invariant: one running stack per data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from runtime.embedded.errors import DirectoryInUse, EmbeddedError

_SEARCHABLE_BY_OTHERS = 0o711
_PRIVATE = 0o700


class Layout:
    """The paths below one data directory; the folder is created when it is missing.

    A folder that is created by root can be searched (not listed) by others, since PostgreSQL, which refuses to
    run as root, must reach its data below it. A folder that exists is left as it is.
    """

    def __init__(self, data_directory: Path) -> None:
        self.data_directory = data_directory.absolute()
        try:
            if not self.data_directory.exists():
                self.data_directory.mkdir(parents=True)
                self.data_directory.chmod(_SEARCHABLE_BY_OTHERS if os.geteuid() == 0 else _PRIVATE)
            for folder in (self.logs, self.keys, self.nats):
                folder.mkdir(mode=_PRIVATE, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(
                f"cannot use {self.data_directory} as data directory: {error.strerror}; "
                "it belongs to the user who first started the center there"
            ) from error

    @property
    def logs(self) -> Path:
        """Folder of one log file per process."""
        return self.data_directory / "logs"

    @property
    def keys(self) -> Path:
        """Folder of passwords and keys."""
        return self.data_directory / "keys"

    @property
    def nats(self) -> Path:
        """Folder of the bus: its settings and its streams."""
        return self.data_directory / "nats"

    @property
    def ports_file(self) -> Path:
        """Names to ports, as JSON."""
        return self.data_directory / "ports.json"

    @property
    def postgres_file(self) -> Path:
        """Where PostgreSQL's data was placed, as JSON."""
        return self.data_directory / "postgres.json"

    @property
    def state_file(self) -> Path:
        """What runs now, as JSON; missing when nothing runs."""
        return self.state_file_of(self.data_directory)

    @staticmethod
    def state_file_of(data_directory: Path) -> Path:
        """The state file of a data directory, which need not exist."""
        return data_directory.absolute() / "stack.json"

    @property
    def trace_file(self) -> Path:
        """The SQLite file of spans."""
        return self.data_directory / "traces.sqlite"

    def log_file(self, process_name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{process_name}.log"


class DirectoryLock:
    """An exclusive lock on a data directory; the kernel drops it when its holder dies, however it dies."""

    def __init__(self, data_directory: Path) -> None:
        self._data_directory = data_directory
        self._file = data_directory / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise DirectoryInUse, which names the holder."""
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmbeddedError(f"cannot open {self._file}: {error.strerror}") from error
        if not _locked_exclusively(descriptor):
            os.close(descriptor)
            raise DirectoryInUse(data_directory=self._data_directory, holder=self._holder())
        since = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} ({Path(sys.argv[0]).name}, since {since})\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def is_held(self) -> bool:
        """Whether any process, this one included, holds the lock."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return self._file.read_text().strip()
        return ""


def _locked_exclusively(descriptor: int) -> bool:
    # `is_held` takes the lock for a moment to look; that must not be mistaken for a holder.
    for _ in range(5):
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False
