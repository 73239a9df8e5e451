"""How many messages may be on their way to one peer, lest the broker drop some of them; and whether it has.

A broker keeps a bounded queue for each client (mosquitto: 1000 messages) and drops the rest without a word.
The protocol has nothing against that. So peers of our own kind also exchange marks: after some messages one
side sends a mark, which says how many there were so far; the other sends it back as an echo, and compares.
Peers of another kind do not subscribe the topics of marks, and are written to without such a limit.
"""

__all__ = ["EVERY", "LOST", "MOST", "Tally", "Window"]

#: Messages on their way, and after how many a mark is due.
MOST = 128
EVERY = 32
#: The echo of no mark: messages have not come.
LOST = 0


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

    @property
    def marked(self) -> int:
        """The last mark that was due."""
        return self._marked

    def sent(self) -> int | None:
        """A message was sent. The mark that is due after it, if one is."""
        self._sent += 1
        if self.answers is False or self._sent - self._marked < EVERY:
            return None
        self._marked = self._sent
        return self._marked

    def rest(self) -> int | None:
        """The mark that is due when nothing more was sent for a while; None: all that was sent has arrived,
        or the peer does not tell."""
        if self.answers is False or self._echoed == self._sent:
            return None
        self._marked = self._sent
        return self._marked

    def echo(self, mark: int) -> None:
        """A mark came back; one that was never sent says nothing."""
        if self._echoed < mark <= self._marked:
            self._echoed = mark
            self.answers = True


class Tally:
    """What has come from one peer, beside what its marks say. A mark may overtake messages, or they it."""

    def __init__(self) -> None:
        self._last = 0
        self._since = 0
        """Messages since the last mark."""
        self._missing = 0
        """Negative: some came before their mark."""

    @property
    def missing(self) -> int:
        """How many of those that a mark spoke of have not come, at the least."""
        return max(self._missing - self._since, 0)

    def came(self) -> None:
        self._since += 1

    def mark(self, mark: int) -> None:
        """A mark has come. One that is not higher than that before is of a peer that counts anew."""
        if mark > self._last:
            # Who counted before this side did has sent what nobody here can know of.
            known = self._last or mark <= EVERY
            self._missing = self._missing + mark - self._last - self._since if known else 0
        elif mark < self._last or self._since:
            self._missing = max(mark - self._since, 0)
        self._last, self._since = mark, 0
