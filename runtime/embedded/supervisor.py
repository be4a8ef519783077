"""Starts crashed processes again. Invariant: one that was stopped on purpose is never started."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.managed_process import ManagedProcess
from runtime.embedded.process_group import ProcessGroup

_LOOK_EVERY_SECONDS = 0.25
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_AFTER_SECONDS = 60.0


class Supervisor:
    """A thread that watches a group; the pause before a restart doubles until a process has run for a minute."""

    def __init__(self, group: ProcessGroup, *, on_progress: Callable[[str], None]) -> None:
        self._group = group
        self._on_progress = on_progress
        self._stopping = threading.Event()
        self._pauses_seconds: dict[str, float] = {}
        self._due_seconds: dict[str, float] = {}
        self._launched_seconds: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="paycenter-supervisor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a restart that has begun ends when the group is stopped. Idempotent."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_SECONDS):
            for process in self._group.crashed():
                if not self._stopping.is_set():
                    self._consider(process)

    def _consider(self, process: ManagedProcess) -> None:
        now_seconds = time.monotonic()
        if process.name not in self._due_seconds:
            pause_seconds = self._pause_seconds(process.name, now_seconds)
            self._due_seconds[process.name] = now_seconds + pause_seconds
            self._on_progress(
                f"{process.name} ended unexpectedly (exit code {process.exit_code}); "
                f"starting it again in {pause_seconds:g} s"
            )
        elif now_seconds >= self._due_seconds[process.name]:
            del self._due_seconds[process.name]
            process.restart_count += 1
            self._launched_seconds[process.name] = now_seconds
            try:
                self._group.start([process.name])
            except EmbeddedError as error:
                self._on_progress(f"{error}")

    def _pause_seconds(self, name: str, now_seconds: float) -> float:
        launched_seconds = self._launched_seconds.get(name)
        has_been_healthy = launched_seconds is None or now_seconds - launched_seconds > _HEALTHY_AFTER_SECONDS
        pause_seconds = _FIRST_PAUSE_SECONDS if has_been_healthy else self._pauses_seconds[name] * 2
        self._pauses_seconds[name] = min(pause_seconds, _LONGEST_PAUSE_SECONDS)
        return self._pauses_seconds[name]
