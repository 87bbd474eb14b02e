"""The one exception that users see: their input is wrong, and the message says what to do."""


class BispikError(Exception):
    """An error of the user's input or environment (exit code 2); everything else is a bug.

    The message says what is wrong, where, by how much, and what to do, in one line.
    """


def first_line(error: Exception) -> str:
    """Return what a library's exception says, short enough for a message of ours."""
    return (str(error) or type(error).__name__).split("\n", 1)[0][:200]
