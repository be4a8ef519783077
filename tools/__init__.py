"""Commands that make and check what the project derives; nothing that runs in production imports them."""
