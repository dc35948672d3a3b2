"""Clouds cut into overlapping patches."""
