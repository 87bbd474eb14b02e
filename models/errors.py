"""The one exception that users see: their input is wrong, and the message says what to do."""


class BispikError(Exception):
    """An error of the user's input or environment (exit code 2); everything else is a bug.

    The message says what is wrong, where, by how much, and what to do, in one line.
    """


def is_panic(error: BaseException) -> bool:
    """Tell whether a library in Rust gave up; its exception can be named only where it was raised."""
    return type(error).__name__ == "PanicException"


def first_line(error: BaseException) -> str:
    """Return what a library's exception says, short enough for a message of ours."""
    return (str(error) or type(error).__name__).split("\n", 1)[0][:200]
