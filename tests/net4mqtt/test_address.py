"""The broker's URL."""

import pytest

from liveman.forms import Secret
from liveman.net4mqtt.address import BrokerAddress, parse_broker_url

READ: list[tuple[str, BrokerAddress]] = [
    ("mqtt://broker", BrokerAddress("mqtt", "broker", 1883, "net4mqtt", "made")),
    ("mqtt://broker:18/", BrokerAddress("mqtt", "broker", 18, "net4mqtt", "made")),
    ("mqtts://broker//a/b//", BrokerAddress("mqtts", "broker", 8883, "a/b", "made")),
    ("ws://[::1]/a", BrokerAddress("ws", "::1", 80, "a", "made")),
    ("wss://broker/a?client_id=me", BrokerAddress("wss", "broker", 443, "a", "me")),
    ("mqtt://broker/a?client_id=", BrokerAddress("mqtt", "broker", 1883, "a", "made")),
    ("mqtt://broker/{alias}?client_id={alias}", BrokerAddress("mqtt", "broker", 1883, "manager", "manager")),
    ("mqtt://u@broker", BrokerAddress("mqtt", "broker", 1883, "net4mqtt", "made", "u")),
    (
        "mqtt://u%40:p%2F%3A@broker",
        BrokerAddress("mqtt", "broker", 1883, "net4mqtt", "made", "u@", Secret("p/:")),
    ),
]


@pytest.mark.parametrize(("url", "address"), READ, ids=[url for url, _ in READ])
def test_a_url_is_read(url: str, address: BrokerAddress) -> None:
    assert parse_broker_url(Secret(url), alias="manager", client_id="made") == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://broker", "mqtt://"),
        ("broker:1883", "whole URL"),
        ("mqtt://broker:0", "port"),
        ("mqtt:///a", "whole URL"),
        ("mqtt://u:hidden@broker/a//b", "empty level"),
        ("mqtt://u:hidden@broker/a/%23", "MQTT topics"),
        ("mqtt://u:hidden@broker/a+", "MQTT topics"),
        ("mqtt://u:hidden@bro ker", "blanks"),
        ("mqtt://user:12/hidden@broker/a", "%2F"),
        ("mqtt://user:12?hidden@broker/a", "%2F"),
        ("mqtt://user:12#hidden@broker/a", "%2F"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_showing_it(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_broker_url(Secret(url), client_id="made")
    assert "hidden" not in str(caught.value)


def test_an_address_shows_no_secret() -> None:
    address = parse_broker_url(Secret("mqtt://user:hidden@[::1]:18/a"), client_id="made")
    assert "hidden" not in f"{address} {address!r}"
    assert str(address) == "mqtt://[::1]:18/a"
