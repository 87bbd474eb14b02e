"""Event counts times sourced constants: where a run's energy goes, how sure that is, and what is not a spike."""
