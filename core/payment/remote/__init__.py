"""Typed clients of the services below. Invariant: an error of a call comes as PaycenterError, never as gRPC's own."""
