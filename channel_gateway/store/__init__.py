"""Every SQL statement of the gateway. Invariant: no rule is decided here and no other room speaks SQL."""
