"""The `paycenter` command: starts the whole center, pays through it and shows what happened."""
