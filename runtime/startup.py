"""The error of a server that cannot start. Invariant: its text is written for the person at the terminal and
is printed without a stack."""

from __future__ import annotations


class StartupError(Exception):
    """Says in one sentence why the server cannot start; `run_service` prints it and exits with code 1."""
