"""What the tests of the embedded stack share. Also a program: runs a stack or parts until it is ended."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from runtime.embedded import Parts, PostgresOptions, Stack, StackOptions
from runtime.embedded.servers import TELEMETRY, ServerSpecification, center_servers

ROOT = Path(__file__).resolve().parents[3]
QUICK_POSTGRES = PostgresOptions(shared_buffers_megabytes=32, is_durable=False)
QUICK_OPTIONS = StackOptions(postgres=QUICK_POSTGRES, drain_grace_seconds=2.0)


def stand_in_servers() -> tuple[ServerSpecification, ...]:
    """The table of the real servers with every command but the telemetry receiver's replaced."""
    script = str(Path(__file__).with_name("stand_in.py"))
    return tuple(
        server if server.name == TELEMETRY else dataclasses.replace(server, arguments=(script, server.name))
        for server in center_servers()
    )


def start_owner(
    kind: str,
    directory: Path,
    *,
    user: int | None = None,
    group: int | None = None,
    program: str = sys.executable,
) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """Run this file in a process of its own and return it with the pids that it started."""
    process = subprocess.Popen(
        [program, str(Path(__file__).resolve()), kind, str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        cwd="/",
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("{"):
        rest = line + process.stdout.read()
        process.wait()
        raise AssertionError(rest)
    return process, json.loads(line)


def end_owner(process: subprocess.Popen[str], signal_number: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(signal_number)
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()


def family_of(pids: Sequence[int]) -> list[psutil.Process]:
    """The processes and everything below them."""
    members = [psutil.Process(pid) for pid in pids]
    return members + [child for member in members for child in member.children(recursive=True)]


def wait_until_gone(processes: Sequence[psutil.Process], *, timeout_seconds: float = 30.0) -> list[str]:
    """What is still alive after the time; a zombie that only waits for its new parent does not count."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        alive = [process for process in processes if _is_alive(process)]
        if not alive or time.monotonic() > deadline:
            return [f"{process.pid} {process.name()}" for process in alive]
        time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main() -> int:
    kind, directory = sys.argv[1], Path(sys.argv[2])
    center: Parts | Stack = (
        Parts(directory, postgres=QUICK_POSTGRES)
        if kind == "parts"
        else Stack(directory, options=QUICK_OPTIONS, servers=stand_in_servers())
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with center:
        pids = {name: status.pid for name, status in center.status().items()}
        print(json.dumps(pids), flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
