"""The demonstration: a file of orders, paid through the four servers and reconciled."""
