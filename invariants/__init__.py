"""The invariants that span services: what order, payment, channel and ledger say of one another.

Each service answers for its own invariants by `CheckInvariants`; this package is the one home of those that no single
service can see. It reads all four databases through a role that can only read.
"""

from invariants.checks import CHECKS, Check
from invariants.runner import Counts, Report, Result, check_center

__all__ = ["CHECKS", "Check", "Counts", "Report", "Result", "check_center"]
