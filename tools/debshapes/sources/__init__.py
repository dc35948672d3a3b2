"""Where the meshes of DebShapes come from, and what they are called."""
