"""The whole center on one machine: starts real parts and servers, and leaves nothing behind.
Invariant: no process that is started here outlives the process that started it.
"""

from runtime.embedded.endpoints import Endpoints, load_endpoints
from runtime.embedded.errors import DirectoryInUse, EmbeddedError, ProcessFailed
from runtime.embedded.parts import Parts
from runtime.embedded.postgres import PostgresOptions
from runtime.embedded.stack import Stack, StackOptions
from runtime.embedded.state import ProcessStatus, StackStatus, read_status
from runtime.embedded.trace_store import Span, SpanLink, TraceStore

__all__ = [
    "DirectoryInUse",
    "EmbeddedError",
    "Endpoints",
    "Parts",
    "PostgresOptions",
    "ProcessFailed",
    "ProcessStatus",
    "Span",
    "SpanLink",
    "Stack",
    "StackOptions",
    "StackStatus",
    "TraceStore",
    "load_endpoints",
    "read_status",
]
