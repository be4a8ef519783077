"""One child process: started, watched and ended. Invariant: it never outlives the process that started it.

The kernel sends a child its death signal when the *thread* that forked it ends, not only when the whole
process does; so every child is forked by one thread that lives as long as this process. Callers may therefore
start children from any thread, a pool's included.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

_GUARD = Path(__file__).with_name("guarded_exec.py")
_LOG_ROTATED_AT_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user and group that a child runs as."""

    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: `arguments[0]` is a path; the environment is complete, nothing is inherited."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    working_directory: Path
    log_file: Path
    death_signal: signal.Signals
    identity: Identity | None = None


@dataclass(slots=True)
class _Spawner:
    """The thread that forks every child of this process."""

    owner_pid: int = field(default_factory=os.getpid)
    requests: queue.SimpleQueue[tuple[Command, Future[subprocess.Popen[bytes]]]] = field(
        default_factory=queue.SimpleQueue
    )

    def run(self) -> None:
        while True:
            command, answer = self.requests.get()
            try:
                answer.set_result(_fork(command))
            except OSError as error:
                answer.set_exception(error)

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        answer: Future[subprocess.Popen[bytes]] = Future()
        self.requests.put((command, answer))
        return answer.result()


_spawners: list[_Spawner] = []
_spawners_lock = threading.Lock()


def _spawner() -> _Spawner:
    with _spawners_lock:
        if not _spawners or _spawners[-1].owner_pid != os.getpid():
            spawner = _Spawner()
            threading.Thread(target=spawner.run, name="paycenter-spawner", daemon=True).start()
            _spawners.append(spawner)
        return _spawners[-1]


def _fork(command: Command) -> subprocess.Popen[bytes]:
    identity = command.identity or Identity(user_id=-1, group_id=-1)
    guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(int(command.death_signal))]
    with command.log_file.open("ab") as log:
        return subprocess.Popen(
            [*guard, str(identity.user_id), str(identity.group_id), *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(command.environment),
            cwd=command.working_directory,
            start_new_session=True,
        )


class ChildProcess:
    """A started child in a session of its own, so that Ctrl-C at a terminal reaches only the parent."""

    def __init__(self, command: Command) -> None:
        command.log_file.parent.mkdir(parents=True, exist_ok=True)
        _rotate(command.log_file)
        self.command = command
        self._log_start_bytes = command.log_file.stat().st_size if command.log_file.exists() else 0
        self._process = _spawner().start(command)

    @property
    def pid(self) -> int:
        """Process id; the same before and after the guard becomes the command."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs, else its exit code (negative: the signal that ended it)."""
        return self._process.poll()

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal; a process that has ended is left alone."""
        self._process.send_signal(signal_number)

    def wait(self, *, timeout_seconds: float) -> bool:
        """True when it has ended within the time."""
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(
        self, steps: Sequence[tuple[signal.Signals, float]], *, is_first_signal_sent: bool = False
    ) -> None:
        """Send each signal and wait its seconds, until the process has ended; SIGKILL to its group at last.

        Idempotent. Returns when the process is gone.
        """
        for step, (signal_number, timeout_seconds) in enumerate(steps):
            if step > 0 or not is_first_signal_sent:
                self.send(signal_number)
            if self.wait(timeout_seconds=timeout_seconds):
                return
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the process and everything in its group, then wait for it. Idempotent."""
        if self.exit_code() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.send(signal.SIGKILL)
        self._process.wait()

    def log_text(self) -> str:
        """What this run of the process has logged so far (at most the last 64 KiB)."""
        try:
            with self.command.log_file.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start_bytes, end - 65536))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def last_log_lines(self, count: int = 15) -> list[str]:
        """The last lines that this run has logged."""
        return self.log_text().splitlines()[-count:]


def _rotate(log_file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size > _LOG_ROTATED_AT_BYTES:
            log_file.replace(log_file.with_suffix(".log.1"))
