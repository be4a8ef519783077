"""Finds the channels by their folders. Invariant: adding a channel is adding a folder with a `plugin.py` that
offers `PLUGIN`; nothing else changes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping

from channel_gateway import channels
from channel_gateway.channels.protocol import ChannelPlugin


def discover() -> Mapping[str, ChannelPlugin]:
    """Returns every channel by name, sorted. Raises RuntimeError when a folder's name and its plugin's differ."""
    found: dict[str, ChannelPlugin] = {}
    for folder in sorted(_folders()):
        plugin: ChannelPlugin = importlib.import_module(f"{channels.__name__}.{folder}.plugin").PLUGIN
        if plugin.name != folder:
            raise RuntimeError(f"the plugin in channels/{folder} is named {plugin.name}")
        found[folder] = plugin
    return found


def _folders() -> Iterable[str]:
    return (module.name for module in pkgutil.iter_modules(channels.__path__) if module.ispkg)
