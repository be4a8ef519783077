"""Pages of listings. Invariant: a token is opaque, belongs to one kind of listing, and a malformed one is
refused."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from runtime.errors import PaycenterError, Reason

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 500

RecordT = TypeVar("RecordT")


def page_size_of(asked: int) -> int:
    """Returns the size that is used: 0 means the default, above the largest means the largest."""
    return DEFAULT_PAGE_SIZE if asked == 0 else min(asked, LARGEST_PAGE_SIZE)


def read_page_token(token: str, *, listing: str) -> str:
    """Returns the key behind which a page begins, empty for the first; raises PaycenterError(PAGE_TOKEN_INVALID)."""
    if not token:
        return ""
    try:
        kind, separator, key = base64.urlsafe_b64decode(token.encode("ascii")).decode().partition(":")
    except (UnicodeError, binascii.Error, ValueError):
        kind, separator, key = "", "", ""
    if kind != listing or not separator or not key:
        raise PaycenterError(
            Reason.PAGE_TOKEN_INVALID, "The page token is malformed or of another list.", field="page_token"
        )
    return key


def cut_page(
    records: Sequence[RecordT], *, size: int, listing: str, key: Callable[[RecordT], str]
) -> tuple[Sequence[RecordT], str]:
    """Cuts what was read (one more than the page) to the page and returns the next page's token, empty at the end."""
    if len(records) <= size:
        return records, ""
    page = records[:size]
    text = f"{listing}:{key(page[-1])}"
    return page, base64.urlsafe_b64encode(text.encode()).decode("ascii")
