"""The schema of the gateway's database, version by version."""
