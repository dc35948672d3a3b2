"""Checkpoints: reading, writing, converting, comparing with published numbers."""
