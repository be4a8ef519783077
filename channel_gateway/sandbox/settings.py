"""Where the sandbox listens and keeps its data, read from the environment.

Invariant: the sandbox binds a loopback address unless an operator names another one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Start-up settings of one sandbox process."""

    host: str
    port: int
    data_directory: Path
    public_url: str
    log_level: str

    @property
    def state_directory(self) -> Path:
        """The folder that holds the sandbox's keys, database and lock."""
        return self.data_directory / "sandbox"


def settings_from_environment(environment: Mapping[str, str] = os.environ) -> SandboxSettings:
    """Reads the PAYCENTER_* variables; raises ValueError when a port is not a number from 1 to 65535."""
    host = environment.get("PAYCENTER_SANDBOX_HOST", "127.0.0.1")
    port_text = environment.get("PAYCENTER_SANDBOX_PORT", "8600")
    if not port_text.isdigit() or not 0 < int(port_text) < 65536:
        raise ValueError(f"PAYCENTER_SANDBOX_PORT must be a port number, not {port_text!r}")
    return SandboxSettings(
        host=host,
        port=int(port_text),
        data_directory=Path(environment.get("PAYCENTER_DATA_DIRECTORY", ".paycenter")).resolve(),
        public_url=environment.get("PAYCENTER_SANDBOX_BASE_URL", f"http://{host}:{port_text}").rstrip("/"),
        log_level=environment.get("PAYCENTER_LOG_LEVEL", "INFO").upper(),
    )
