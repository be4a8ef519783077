"""The double-entry ledger. Invariant: every journal balances, and every balance equals its entries."""
