"""A node's refusal: the status and the plain text that answer a request."""

__all__ = ["Refused"]


class Refused(Exception):
    """The node does not do this."""

    def __init__(self, status: int, text: str = "") -> None:
        self.status = status
        self.text = text
        super().__init__(f"{status}: {text}")
