"""Rules of orders, attempts, refunds and notifications. Invariant: pure Python, no I/O, no clock, no randomness."""
