"""Readers of the mesh formats of free games."""
