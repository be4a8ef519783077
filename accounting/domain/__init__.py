"""The rules of the books: pure decisions, no I/O, no clock."""
