"""Twilio's Network Traversal tokens as ICE servers for Liveman."""

from liveman_ice_twilio.provider import Twilio

__all__ = ["Twilio"]
