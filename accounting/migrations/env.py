"""Applies the versions of this folder; see runtime.migrations."""

from accounting.tables import metadata
from runtime.migrations import run_environment

run_environment(metadata)
