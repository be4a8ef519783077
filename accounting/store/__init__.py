"""Every SQL statement of the ledger. Invariant: balances are locked in one order (shard, account number), holds after
balances."""
