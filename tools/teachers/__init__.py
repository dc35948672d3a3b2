"""Frozen teachers and the caches of their features."""
