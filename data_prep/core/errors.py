"""The one exception for a user's mistake."""


class BadInput(Exception):
    """Input that is refused before work starts: one line that gives the rule, the value and the cure. The CLI prints it and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
