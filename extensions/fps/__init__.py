"""Farthest point sampling."""
