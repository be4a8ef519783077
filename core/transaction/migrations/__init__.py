"""Schema changes of the transaction database. Invariant: a version that was released is never edited."""
