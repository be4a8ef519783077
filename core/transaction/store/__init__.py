"""Every SQL statement of the service. Invariant: all of them lead with `shard` and none leaves a transaction open."""
