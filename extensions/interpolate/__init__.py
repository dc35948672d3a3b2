"""Rows picked by an index, the three nearest points, and what lies between them."""
