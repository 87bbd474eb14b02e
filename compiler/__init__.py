"""Checkpoint to graph to NIR to integers to neurocores: pure functions on NumPy arrays, no PyTorch after `lift`."""
