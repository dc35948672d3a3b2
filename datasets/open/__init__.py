"""Files of the open-vocabulary 3D distributions (OpenShape, Uni3D, ULIP-2), without unpickling what could run."""
