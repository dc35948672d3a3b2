"""The maximum over the points of a patch."""
