"""BiSpikCLM, a fully binary spiking causal language model (arXiv:2605.13859)."""
