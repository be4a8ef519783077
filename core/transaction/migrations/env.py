"""Applies the versions of this folder; see runtime.migrations."""

from core.transaction.store.tables import metadata
from runtime.migrations import run_environment

run_environment(metadata)
