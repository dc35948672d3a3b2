"""Keys of the published checkpoints, both ways."""
