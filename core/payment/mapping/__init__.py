"""Between the contract's messages and the domain. Invariant: total in both directions."""
