"""Starts TransactionCore alone: `python -m core.transaction`."""

import sys

from core.transaction.server import build
from core.transaction.settings import TransactionSettings
from runtime.service_main import run_service

if __name__ == "__main__":
    sys.exit(run_service("transaction", TransactionSettings, build))
