"""Reverses a journal. Invariant: a journal is reversed at most once, by its mirror image, and a reversal never."""

from __future__ import annotations

from accounting.books import Books
from accounting.domain.posting import Line
from accounting.post import JournalCommand, mirrored, post
from accounting.store import journals
from accounting.store.journals import Journal
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.ids import shard_of_number


async def reverse_journal(books: Books, *, request_id: str, fingerprint: bytes, journal_id: str) -> Journal:
    """Books the mirror image of a journal in the open day; idempotent by request.

    Raises:
        PaycenterError: JOURNAL_NOT_FOUND, JOURNAL_NOT_REVERSIBLE (a reversal, or reversed by another request), and
            whatever `post` raises: a reversal passes floors and account states like any journal.
    """
    original = await _original(books, journal_id)
    command = JournalCommand(
        request_id=request_id,
        fingerprint=fingerprint,
        event_code="REVERSAL",
        business_number=original.journal_id,
        lines=mirrored([Line(entry.account_id, entry.side, entry.amount) for entry in original.entries]),
        kind="REVERSAL",
        reversed_journal_id=original.journal_id,
    )
    try:
        return await post(books, command)
    except PaycenterError as error:
        if error.reason is not Reason.JOURNAL_EXISTS:
            raise
        raise PaycenterError(
            Reason.JOURNAL_NOT_REVERSIBLE,
            "the journal is reversed",
            field="journal_id",
            metadata=error.metadata,
        ) from None


async def _original(books: Books, journal_id: str) -> Journal:
    async with books.database.read() as connection:
        try:
            shard = shard_of_number(journal_id)
        except ValueError:
            original = None
        else:
            original = await journals.get_journal(connection, shard=shard, journal_id=journal_id)
    if original is None:
        raise PaycenterError(
            Reason.JOURNAL_NOT_FOUND,
            "no journal has this number",
            field="journal_id",
            resource=("journal", journal_id),
        )
    if original.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "the journal belongs to another tenant")
    if original.kind == "REVERSAL":
        raise PaycenterError(
            Reason.JOURNAL_NOT_REVERSIBLE, "a reversal is not reversed; post again", field="journal_id"
        )
    return original
