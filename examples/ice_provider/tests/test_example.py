from liveman.ice.testing import Answer, check_provider
from liveman_ice_example import Example

TURN = {"urls": "turn:turn.example.org", "username": "user", "credential": "the-credential"}
GOOD = Answer(json={"iceServers": [TURN], "ttl": 3600})


def test_it_keeps_the_contract() -> None:
    check_provider(Example, lambda url: {"api_key": "the-api-key", "api_base": url}, vendor=GOOD)
