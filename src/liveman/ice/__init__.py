"""ICE servers for WHIP and WHEP clients: what authors of ICE providers need is named here.

A provider is a class of the shape `IceProvider`, installed as an entry point in the group ``liveman.ice``.
`docs/ice-providers.md` tells how one is written, tested with `liveman.ice.testing`, and shipped.
"""

from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.forms import Between, filled, optional, public_url, token
from liveman.ice.provider import IceLease, IceProvider, IceRequest
from liveman.ice.server import IceServer, IceUrl
from liveman.ice.vendor import VendorApi

__all__ = [
    "Between",
    "IceLease",
    "IceProvider",
    "IceRequest",
    "IceServer",
    "IceUrl",
    "ProviderError",
    "Secret",
    "VendorApi",
    "filled",
    "optional",
    "public_url",
    "token",
]
