"""Page sizes and tokens. Invariant: a token is opaque, holds the key of the last entry shown, and is refused when it
was not made here."""

from __future__ import annotations

import base64
import binascii

from runtime.errors import PaycenterError, Reason
from runtime.ids import shard_of_number

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 500


def page_size_of(asked: int) -> int:
    """Returns the number of entries to show: 50 when nothing was asked, at most 500."""
    return min(asked or DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE)


def encode_page_token(number: str) -> str:
    """Returns the token that leads on behind `number`."""
    return base64.urlsafe_b64encode(number.encode()).decode()


def decode_page_token(token: str) -> str:
    """Returns the number behind which the page begins, empty for the first.

    Raises PaycenterError(PAGE_TOKEN_INVALID).
    """
    if not token:
        return ""
    try:
        number = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
        shard_of_number(number)
    except (binascii.Error, ValueError):
        raise PaycenterError(
            Reason.PAGE_TOKEN_INVALID, "The page token was not given by this list.", field="page_token"
        ) from None
    return number
