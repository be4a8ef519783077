"""Page tokens. Invariant: a token says which list it belongs to, and one that was not made here is refused."""

from __future__ import annotations

import base64
import binascii

from runtime.errors import PaycenterError, Reason


def make_token(list_name: str, last_number: str) -> str:
    """Returns the token of the page behind `last_number`."""
    return base64.urlsafe_b64encode(f"{list_name}:{last_number}".encode()).decode()


def read_token(list_name: str, token: str) -> str:
    """Returns the number behind which the page begins, empty for the first page.

    Raises PaycenterError(PAGE_TOKEN_INVALID, field page_token).
    """
    if not token:
        return ""
    try:
        name, separator, last_number = (
            base64.b64decode(token, altchars=b"-_", validate=True).decode().partition(":")
        )
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name, separator, last_number = "", "", ""
    if name != list_name or not separator or not last_number.isalnum():
        raise PaycenterError(
            Reason.PAGE_TOKEN_INVALID, "The page token belongs to no list of this kind.", field="page_token"
        )
    return last_number
