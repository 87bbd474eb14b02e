"""The official Loihi 2 simulator: the program as Lava processes, in Lava's fixed-point arithmetic."""
