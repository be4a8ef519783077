"""Schema changes of PaymentCore's database, applied by Alembic."""
