"""The tables that the runtime reads and writes in this database; the ledger's own stand in the migrations."""

from __future__ import annotations

from typing import Final

from runtime.database import new_metadata
from runtime.idempotency import idempotency_table
from runtime.outbox import outbox_table

metadata: Final = new_metadata()
OUTBOX_EVENT: Final = outbox_table(metadata)
IDEMPOTENCY_RECORD: Final = idempotency_table(metadata)
