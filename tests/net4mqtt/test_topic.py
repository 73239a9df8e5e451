"""The topics of net4mqtt, and who is named by them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.net4mqtt.topic import Topic, agent_filters, agent_of, is_online, local_filters, parse_topic

levels = st.text(st.characters(exclude_characters="/+#\0", exclude_categories=["Cs"]), min_size=1)
prefixes = st.lists(levels, min_size=1, max_size=3).map("/".join)


@given(prefixes, levels, levels, st.sampled_from("iovx"), levels, st.none() | st.tuples(levels, levels))
def test_what_is_written_is_read(
    prefix: str, agent: str, local: str, label: str, protocol: str, ends: tuple[str, str] | None
) -> None:
    """For any ids, below a prefix of any depth."""
    topic = Topic(prefix, agent, local, label, protocol, *(ends or ()))  # type: ignore[arg-type]
    assert parse_topic(str(topic), prefix) == topic


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("p/a/l/i/tcp/127.0.0.1:7/-", Topic("p", "a", "l", "i", "tcp", "127.0.0.1:7", "-")),
        ("p/a/l/o/udp/1.2.3.4:7/5.6.7.8:9", Topic("p", "a", "l", "o", "udp", "1.2.3.4:7", "5.6.7.8:9")),
        ("p/a/-/v/-", Topic("p", "a", "-", "v")),
        ("p/a/-/x/streams", Topic("p", "a", "-", "x", "streams")),
        ("p/a/l/iw/mark/127.1.2.3/-", Topic("p", "a", "l", "iw", "mark", "127.1.2.3", "-")),
    ],
)
def test_topics_of_today_are_read_and_written_so(text: str, meaning: Topic) -> None:
    assert parse_topic(text, "p") == meaning
    assert str(meaning) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "p",
        "p/",
        "p/a/-/v",
        "p/a/-/v/-/-",
        "p/a/l/i/tcp/s/d/more",
        "p/a//i/tcp/s/d",
        "p/a/l/i/tcp/s/",
        "p//-/v/-",
        "p/a/l/z/tcp/s/d",
        "p/a/l/io/tcp/s/d",
        "q/a/l/i/tcp/s/d",
        "pp/a/l/i/tcp/s/d",
        "/p/a/l/i/tcp/s/d",
        "$SYS/a/l/i/tcp/s/d",
    ],
)
def test_another_topic_is_none_of_ours(text: str) -> None:
    assert parse_topic(text, "p") is None


@given(st.text(), st.text(min_size=1))
def test_no_text_upsets_the_reader(text: str, prefix: str) -> None:
    parse_topic(text, prefix)
    parse_topic(f"{prefix}/{text}", prefix)


def test_each_role_subscribes_what_is_meant_for_it() -> None:
    assert local_filters("a/b", "me") == ("a/b/+/me/o/#", "a/b/+/+/v/#", "a/b/+/+/x/#", "a/b/+/me/ow/#")
    assert agent_filters("a/b", "node") == ("a/b/node/+/i/#", "a/b/node/-/v/-", "a/b/node/+/iw/#")


@pytest.mark.parametrize(
    ("presence", "online"),
    [(b'{"online":true}', True), (b"{}", False), (b"", False), (b"12345", False), (b"123456", True)],
)
def test_a_presence_of_more_than_five_bytes_is_there(presence: bytes, online: bool) -> None:
    assert is_online(presence) is online


@pytest.mark.parametrize(
    ("host", "agent"),
    [
        ("node-0.net4mqtt.local", "node-0"),
        ("Node-0.NET4mqtt.local", "Node-0"),
        ("a.b.net4mqtt.local", "a"),
        (".net4mqtt.local", None),
        ("net4mqtt.local", None),
        ("xnet4mqtt.local", None),
        ("node.net4mqtt.local.evil.org", None),
        ("127.0.0.1", None),
        ("", None),
    ],
)
def test_the_first_label_of_a_host_in_the_domain_is_the_agent(host: str, agent: str | None) -> None:
    assert agent_of(host, "net4mqtt.local") == agent
