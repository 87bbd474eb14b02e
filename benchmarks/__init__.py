"""`make bench`: how fast the simulator is, as ratios within one run; see docs/performance.md."""
