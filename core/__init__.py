"""The core link: the servers TransactionCore and PaymentCore."""
