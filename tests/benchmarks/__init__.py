"""What the center can do on this machine, measured in one run and written where it is read."""
