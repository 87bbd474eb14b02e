"""Settings for every test."""

from hypothesis import settings

# The same examples in every run, however slow the machine is.
settings.register_profile("bispik", deadline=None, derandomize=True)
settings.load_profile("bispik")
