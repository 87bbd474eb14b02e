"""Backends for stream programs: networks that live in time steps, without tokens."""
