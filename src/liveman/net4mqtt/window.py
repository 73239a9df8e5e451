"""How many messages may be on their way to one peer, lest the broker drop some of them.

A broker keeps a bounded queue for each client (mosquitto: 1000 messages) and drops the rest without a word.
The protocol has nothing against that. So peers of our own kind also exchange marks: after some messages one
side sends a mark, which keeps its place among them, and the other sends it back as an echo. Peers of another
kind do not subscribe the topics of marks, and are written to without such a limit.
"""

__all__ = ["EVERY", "MOST", "Window"]

#: Messages on their way, and after how many a mark is due.
MOST = 128
EVERY = 32


class Window:
    """What is on its way to one peer."""

    def __init__(self) -> None:
        self._sent = 0
        self._marked = 0
        self._echoed = 0
        self.answers: bool | None = None
        """Whether the peer sends marks back; None: that is not known yet."""

    @property
    def open(self) -> bool:
        """Whether one more message may be sent."""
        return self.answers is False or self._sent - self._echoed < MOST

    @property
    def echoed(self) -> int:
        """How many messages have arrived for sure."""
        return self._echoed

    def sent(self) -> int | None:
        """A message was sent. The mark that is due after it, if one is."""
        self._sent += 1
        if self.answers is False or self._sent - self._marked < EVERY:
            return None
        self._marked = self._sent
        return self._marked

    def echo(self, mark: int) -> None:
        """A mark came back; one that was never sent says nothing."""
        if self._echoed < mark <= self._marked:
            self._echoed = mark
            self.answers = True
