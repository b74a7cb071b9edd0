"""What the lab says when something cannot be done: one line, a hint, an exit status."""


class LabError(Exception):
    """A refusal or failure, told in one line, with a hint that says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
