"""The rules of payments: states, amounts, shares and what a channel said. Invariant: pure, no I/O and no clock."""
