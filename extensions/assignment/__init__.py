"""Pairs of rows and columns that fit best, for a batch at once."""
