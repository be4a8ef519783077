"""Rules and states of the gateway. Invariant: no I/O, no clock, no randomness."""
