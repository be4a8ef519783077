"""Starts the channel gateway alone: `python -m channel_gateway`."""

import sys

from channel_gateway.server import build
from channel_gateway.settings import ChannelGatewaySettings
from runtime.service_main import run_service

if __name__ == "__main__":
    sys.exit(run_service("channel_gateway", ChannelGatewaySettings, build))
