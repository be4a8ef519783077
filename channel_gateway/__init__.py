"""ChannelGateway: one interface before every payment channel."""
