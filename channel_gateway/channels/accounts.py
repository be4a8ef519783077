"""How plugins check what an account is opened with. Invariant: a violation names the setting and never its
value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from runtime.errors import FieldViolation, PaycenterError, Reason

_WORD = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


class AccountChecker:
    """Collects what is wrong with the settings and secrets of one account."""

    def __init__(self, channel: str, settings: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        self._channel = channel
        self._settings = settings
        self._secrets = secrets
        self._violations: list[FieldViolation] = []

    def require_settings(self, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Notes each required setting that is missing or empty and each setting that the channel does not know."""
        self._require("settings", self._settings, required, optional)

    def require_secrets(self, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Notes each required secret that is missing or empty and each secret that the channel does not know."""
        self._require("secrets", self._secrets, required, optional)

    def refuse(self, field: str, description: str) -> None:
        """Notes that the field, for example `secrets[api_v3_key]`, breaks a rule of the channel."""
        self._violations.append(FieldViolation(field, description, "channel_settings"))

    def check_url(self, name: str) -> None:
        """Notes when the setting, where present, is no absolute HTTP address without query."""
        value = self._settings.get(name)
        if not value:
            return
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            self.refuse(f"settings[{name}]", "must be an absolute http or https address without query")

    def check_words(self, *names: str) -> None:
        """Notes each setting, where present, that is more than letters, digits, `_`, `-`, `.` and `@`."""
        for name in names:
            value = self._settings.get(name)
            if value and _WORD.fullmatch(value) is None:
                self.refuse(f"settings[{name}]", "must be 1 to 64 letters, digits, _ - . or @")

    def check_secret(self, name: str, read: Callable[[str], object]) -> None:
        """Notes when the secret, where present, cannot be read; the text of `read`'s ValueError holds none of it."""
        value = self._secrets.get(name)
        if not value:
            return
        try:
            read(value)
        except ValueError as error:
            self.refuse(f"secrets[{name}]", str(error))

    def raise_if_any(self) -> None:
        """Raises PaycenterError(CHANNEL_SETTINGS_INVALID) with everything that was noted."""
        if self._violations:
            raise PaycenterError(
                Reason.CHANNEL_SETTINGS_INVALID,
                f"The settings or keys of the {self._channel} account are incomplete or cannot be read.",
                violations=self._violations,
                metadata={"channel": self._channel},
            )

    def _require(
        self, kind: str, given: Mapping[str, str], required: Sequence[str], optional: Sequence[str]
    ) -> None:
        for name in required:
            if not given.get(name):
                self.refuse(f"{kind}[{name}]", "is required")
        for name in given:
            if name not in required and name not in optional:
                self.refuse(f"{kind}[{name}]", "is not known to the channel")
