"""Conversion between the contract's messages and the domain. Invariant: total in both directions for every enum; the
only rooms besides this one that know the contract's classes are `api` and `remote`."""
