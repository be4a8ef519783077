"""Every SQL statement of PaymentCore. Invariant: each statement leads with the shard where it names a number."""
