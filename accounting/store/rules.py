"""Posting rules as they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from accounting.domain.accounts import EntrySide
from accounting.domain.rules import PostingRule, RuleLine


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A version of a rule with its approval."""

    rule: PostingRule
    state: str
    maker: str
    checker: str
    effective_date: date


_IN_FORCE = text(
    """
    SELECT DISTINCT ON (event_code) * FROM posting_rule
    WHERE state = 'APPROVED' AND effective_date <= :today ORDER BY event_code, version DESC
    """
)
_LIST = text(
    """
    SELECT * FROM posting_rule WHERE (:event_code = '' OR event_code = :event_code)
      AND (event_code, -version) > (:after_event_code, -CAST(:after_version AS integer))
    ORDER BY event_code, version DESC LIMIT :limit
    """
)


async def rules_in_force(connection: AsyncConnection, today: date) -> dict[str, PostingRule]:
    """Reads the newest approved version of each rule that is in force on a day, by event code."""
    rows = await connection.execute(_IN_FORCE, {"today": today})
    return {row.event_code: _rule(row.event_code, row.version, row.lines) for row in rows}


async def list_rules(
    connection: AsyncConnection, *, event_code: str, after_event_code: str, after_version: int, limit: int
) -> list[StoredRule]:
    """Reads rules by event code, newest version first."""
    rows = await connection.execute(
        _LIST,
        {
            "event_code": event_code,
            "after_event_code": after_event_code,
            "after_version": after_version,
            "limit": limit,
        },
    )
    return [
        StoredRule(
            rule=_rule(row.event_code, row.version, row.lines),
            state=row.state,
            maker=row.maker,
            checker=row.checker,
            effective_date=row.effective_date,
        )
        for row in rows
    ]


def _rule(event_code: str, version: int, lines: list[dict[str, str]]) -> PostingRule:
    return PostingRule(
        event_code=event_code,
        version=version,
        lines=tuple(
            RuleLine(role=line["role"], side=EntrySide(line["side"]), component=line["component"])
            for line in lines
        ),
    )
