import time
from typing import Annotated

from attrs import frozen

from liveman.ice import IceLease, IceRequest, Secret, VendorApi, public_url, token


class Example:
    pooled = True

    @frozen
    class Options:
        api_key: Annotated[Secret, token]
        api_base: Annotated[str, public_url] = "https://turn.example.org"

    def __init__(self, options: Options) -> None:
        self._key = options.api_key
        self._api = VendorApi("example.org", options.api_base, check="api_key")
        self.start, self.close = self._api.start, self._api.close

    async def lease(self, request: IceRequest) -> IceLease:
        now, headers = time.time(), {"Authorization": f"Bearer {self._key.reveal()}"}
        answer = await self._api.ask("POST", "/credentials", headers=headers, json={"ttl": 3600})
        servers = self._api.turn_servers(self._api.members(answer).get("iceServers"))
        return IceLease(servers, now + self._api.seconds(answer, "ttl", asked=3600))
