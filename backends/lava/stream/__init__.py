"""Stream programs on Lava."""
