"""Features of frozen teachers, kept in an HDF5 file by sample id."""
