"""What several wings raise."""


class Taken(Exception):
    """The reply to this message is in the chat, or another run is sending it; nobody sees this."""


class NotDelivered(Exception):
    """The reply is on record but not in the chat. Nothing else leaves the handler: it makes FC run the event again."""

    def __init__(self, problem: str, sent: int) -> None:
        super().__init__(problem)
        self.sent = sent  # parts that are in the chat
