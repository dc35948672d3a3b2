"""A user's own files as a data set: folders of meshes and point clouds in the usual formats."""
