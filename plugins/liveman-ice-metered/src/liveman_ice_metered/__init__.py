"""Metered's TURN credentials as ICE servers for Liveman."""

from liveman_ice_metered.provider import Metered

__all__ = ["Metered"]
