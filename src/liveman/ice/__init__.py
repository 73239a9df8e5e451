"""ICE servers for WHIP and WHEP clients: what authors of ICE providers need is named here.

A provider is a class of the shape `IceProvider`, installed as an entry point in the group ``liveman.ice``.
"""

from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.ice.provider import IceLease, IceProvider, IceRequest
from liveman.ice.server import IceServer

__all__ = ["IceLease", "IceProvider", "IceRequest", "IceServer", "ProviderError", "Secret"]
