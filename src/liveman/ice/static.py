"""ICE servers that are the same for everyone: ``[[extra_ice.ice_servers]]``."""

from attrs import frozen

from liveman.ice.provider import IceLease, IceRequest
from liveman.ice.server import IceServer

__all__ = ["Static"]


class Static:
    """Gives what the configuration lists."""

    immediate = True

    @frozen
    class Options:
        ice_servers: tuple[IceServer, ...] = ()

        @property
        def unused(self) -> bool:
            return not self.ice_servers

    def __init__(self, options: Options) -> None:
        self._lease = IceLease(options.ice_servers)

    async def lease(self, request: IceRequest) -> IceLease:
        return self._lease
