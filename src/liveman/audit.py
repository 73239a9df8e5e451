"""Who changed what: one line for each login, token, node and stream, and never a secret in it."""

from liveman.inbound import Inbound
from liveman.logs import get_logger

__all__ = ["audit"]

log = get_logger("liveman.audit")


def audit(inbound: Inbound, event: str, **values: object) -> None:
    """``event``: what has happened, such as "node added"; ``values``: to what."""
    log.info(event, subject=inbound.identity.subject, address=inbound.address, **values)
