"""Copies of data sets that start fast: many files packed into one that all processes map."""
