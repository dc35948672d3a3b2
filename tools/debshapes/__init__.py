"""The DebShapes pretraining set: made from the meshes in Debian packages."""
