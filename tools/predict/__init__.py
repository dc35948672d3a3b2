"""Using a trained network from the shell."""
