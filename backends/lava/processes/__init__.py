"""Lava Processes of the compiled program: a folder each, with its Process and its models."""
