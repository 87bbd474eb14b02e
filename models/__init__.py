"""Spiking networks and their checkpoints. Knows PyTorch, knows no hardware."""
