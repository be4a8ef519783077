"""What the contract says about a method: does it change something, how long may it take, who may call it.
Invariant: read once from the descriptors; nothing is decided by a method's name but the exemptions below."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from paycenter.options.v1 import options_pb2

READ_CAP_SECONDS = 2.0
WRITE_CAP_SECONDS = 5.0

_EXEMPT_PACKAGES = ("/grpc.health.", "/grpc.reflection.")
_CONTEXT_FREE_METHODS = frozenset({"GetServerInfo"})


@dataclass(frozen=True, slots=True)
class MethodProfile:
    """One method as the interceptors and the client see it.

    `full_name` is `package.Service/Method`. `mutating` methods run detached from their caller. The cap is
    the longest time that the method gets, in seconds; it does not bind streams.
    """

    full_name: str
    mutating: bool
    context_required: bool
    has_request_id: bool
    deadline_cap_seconds: float


@cache
def profile_of(path: str) -> MethodProfile:
    """Returns the profile of the method at an HTTP/2 path (`/package.Service/Method`).

    A method that the descriptor pool does not know counts as mutating, with the cap of a write.
    """
    full_name = path.removeprefix("/")
    method = _find(full_name)
    if method is None:
        return MethodProfile(
            full_name=full_name,
            mutating=True,
            context_required=True,
            has_request_id=False,
            deadline_cap_seconds=WRITE_CAP_SECONDS,
        )
    options = method.GetOptions()
    mutating = options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    cap_seconds = options.Extensions[options_pb2.deadline_cap_seconds]
    return MethodProfile(
        full_name=full_name,
        mutating=mutating,
        context_required=method.name not in _CONTEXT_FREE_METHODS,
        has_request_id="request_id" in method.input_type.fields_by_name,
        deadline_cap_seconds=float(cap_seconds or (WRITE_CAP_SECONDS if mutating else READ_CAP_SECONDS)),
    )


def is_exempt(path: str) -> bool:
    """Whether the method at `path` is gRPC's own health or reflection, which need no context and leave no
    line."""
    return path.startswith(_EXEMPT_PACKAGES)


def _find(full_name: str) -> MethodDescriptor | None:
    try:
        return descriptor_pool.Default().FindMethodByName(full_name.replace("/", "."))
    except KeyError:
        return None
