"""The Chamfer distance."""
