"""Applies the versions of this folder; see runtime.migrations."""

from channel_gateway.store.tables import metadata
from runtime.migrations import run_environment

run_environment(metadata)
