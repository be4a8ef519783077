"""Schema changes of the accounting database. Invariant: a version that was released is never edited."""
