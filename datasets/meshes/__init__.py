"""Triangle meshes: reading, cleaning, sampling, rendering."""
