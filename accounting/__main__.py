"""Starts the accounting server alone: `python -m accounting`."""

import sys

from accounting.server import build
from accounting.settings import AccountingSettings
from runtime.service_main import run_service

if __name__ == "__main__":
    sys.exit(run_service("accounting", AccountingSettings, build))
