"""The topics of net4mqtt: ``<prefix>/<agent>/<local>/<label>/<protocol>/<src>/<dst>``.

"-" stands for "none" in any place. Topics of presence and of data are shorter: they have no source or
destination.
"""

from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from attrs import frozen

__all__ = [
    "NONE",
    "Label",
    "Topic",
    "agent_filters",
    "agent_of",
    "agent_of_url",
    "is_online",
    "local_filters",
    "parse_topic",
]

Label = Literal["i", "o", "v", "x", "iw", "ow"]
"""``i`` towards the agent, ``o`` from the agent, ``v`` presence, ``x`` data of the application. Ours alone,
unseen by others: ``iw`` and ``ow``, the same ways, marks and echoes as ``window`` has them."""

NONE = "-"

_LABELS: tuple[Label, ...] = ("i", "o", "v", "x", "iw", "ow")

#: A shorter payload of presence means that the agent is gone, such as ``{}``.
_ONLINE_BYTES = 6


@frozen
class Topic:
    """One topic, taken apart."""

    prefix: str
    agent: str
    local: str
    label: Label
    protocol: str = NONE
    """``tcp`` for connections; ``streams`` for snapshots; ``mark``, ``echo``."""
    src: str | None = None
    """What names the connection among those of this local, or, with marks, the process that is this local;
    None: the topic is a short one."""
    dst: str | None = None

    def __str__(self) -> str:
        ends = () if self.src is None else (self.src, self.dst or NONE)
        return "/".join((self.prefix, self.agent, self.local, self.label, self.protocol, *ends))


def parse_topic(text: str, prefix: str) -> Topic | None:
    """What a topic says; None when it is none of this protocol below this prefix."""
    if not text.startswith(f"{prefix}/"):
        return None
    parts = text[len(prefix) + 1 :].split("/")
    if len(parts) not in (4, 6) or not all(parts):
        return None
    label = next((each for each in _LABELS if each == parts[2]), None)
    if label is None:
        return None
    return Topic(prefix, parts[0], parts[1], label, *parts[3:])


def local_filters(prefix: str, local: str) -> tuple[str, ...]:
    """What a local subscribes; it can do without the last, marks."""
    marks = f"{prefix}/+/{local}/ow/#"
    return (f"{prefix}/+/{local}/o/#", f"{prefix}/+/+/v/#", f"{prefix}/+/+/x/#", marks)


def agent_filters(prefix: str, agent: str) -> tuple[str, ...]:
    """What an agent subscribes; it can do without the last two, its own presence and marks."""
    return (f"{prefix}/{agent}/+/i/#", f"{prefix}/{agent}/{NONE}/v/{NONE}", f"{prefix}/{agent}/+/iw/#")


def is_online(presence: bytes) -> bool:
    """Whether an agent that publishes this as its presence is there."""
    return len(presence) >= _ONLINE_BYTES


def agent_of(host: str, domain: str) -> str | None:
    """The agent that a host's name selects by its first label, as it is written there; None: the host is not
    in the domain."""
    if not host.lower().endswith(f".{domain.lower()}"):
        return None
    return host[: -len(domain) - 1].partition(".")[0] or None


@lru_cache(maxsize=16_384)
def agent_of_url(url: str, domain: str) -> str | None:
    """The same of a node's URL, the port of which means nothing."""
    netloc = urlsplit(url).netloc
    # The attribute `hostname` would be in lower case, which the ids of agents need not be.
    return agent_of(netloc.rpartition(":")[0] or netloc, domain)
