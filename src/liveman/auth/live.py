"""The live sessions that this instance made, by whom and with which token. Pure: who is alive is asked."""

from collections.abc import Callable, Iterator
from typing import Literal

from attrs import define, field, frozen

from liveman.access import Action, Identity

__all__ = ["Live", "Session"]

#: What has ended is looked for when there are twice as many as were left the last time, and at least so many.
_LEAST_SWEPT = 1024


@frozen
class Session:
    """One session, by the node's own id."""

    action: Action
    alias: str
    stream: str
    id: str


@define
class Live:
    """Sessions by their subject. What has ended elsewhere is forgotten by and by."""

    state: Callable[[Session], Literal["live", "away", "gone"]]
    """``away``: its node is down, so nobody can tell."""
    _sessions: dict[Session, Identity] = field(factory=dict, init=False, repr=False)
    _of_subject: dict[str, set[Session]] = field(factory=dict, init=False, repr=False)
    _enough: int = field(default=_LEAST_SWEPT, init=False)

    def add(self, session: Session, identity: Identity) -> None:
        self.remove(session)  # A node that names two alike has only the later one.
        self._sessions[session] = identity
        self._of_subject.setdefault(identity.subject, set()).add(session)
        if len(self._sessions) > self._enough:
            for each in [each for each in self._sessions if self.state(each) == "gone"]:
                self.remove(each)
            self._enough = max(_LEAST_SWEPT, 2 * len(self._sessions))

    def remove(self, session: Session) -> None:
        identity = self._sessions.pop(session, None)
        if identity is not None:
            mine = self._of_subject[identity.subject]
            mine.discard(session)
            if not mine:
                del self._of_subject[identity.subject]

    def count(self, subject: str, action: Action) -> int:
        """How many sessions of this kind a subject has now."""
        mine = list(self._of_subject.get(subject, ()))
        states = {each: self.state(each) for each in mine}
        for each, state in states.items():
            if state == "gone":
                self.remove(each)
        return sum(1 for each, state in states.items() if state == "live" and each.action == action)

    def of_token(self, token_id: str) -> Iterator[Session]:
        """The sessions that were made with a token."""
        return (
            session for session, identity in list(self._sessions.items()) if identity.token_id == token_id
        )
