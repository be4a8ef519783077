"""PaymentCore: recharge, withdrawal, refund and transfer as first-class commands that are recorded first and carried
out in steps. Invariant: money is said to have moved only when its journal stands in the ledger."""
