"""The channels, one folder each. Invariant: nothing outside of a channel's folder knows the channel by name."""
