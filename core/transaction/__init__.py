"""TransactionCore: orders of business systems, their attempts, refunds, association and notification."""
