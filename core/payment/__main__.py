"""Starts this server alone: `python -m core.payment`."""

from __future__ import annotations

import sys

from core.payment.server import SHORT_NAME, build
from core.payment.settings import PaymentSettings
from runtime.service_main import run_service

if __name__ == "__main__":
    sys.exit(run_service(SHORT_NAME, PaymentSettings, build))
