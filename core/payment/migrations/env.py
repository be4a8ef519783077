"""Hands PaymentCore's tables to Alembic."""

from core.payment.store.tables import metadata
from runtime.migrations import run_environment

run_environment(metadata)
