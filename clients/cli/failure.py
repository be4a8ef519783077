"""How a command ends badly: one clear sentence and an exit code, never a traceback."""

from __future__ import annotations

from paycenter_client import PaycenterError


class CommandFailed(Exception):
    """A command cannot go on; the message is one sentence for the person who typed it."""


def sentence_of(error: PaycenterError) -> str:
    """Writes a refusal of the center as one line: message, then code, reason, fields and trace."""
    parts = [f"code {error.code.name}"]
    if error.reason:
        parts.append(f"reason {error.reason}")
    for violation in error.violations:
        what = "" if violation.description == error.message else f": {violation.description}"
        parts.append(f"field {violation.field}{what}")
    if error.trace_id:
        parts.append(f"trace {error.trace_id}")
    message = error.message.rstrip(".") or "the call failed"
    return f"{message} ({', '.join(parts)})"
