"""A package, because a library installs a `tests` of its own, which would be found instead."""
