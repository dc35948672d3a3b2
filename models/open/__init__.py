"""Open-vocabulary encoders of others in plain torch: Uni3D, OpenShape-PointBERT, ULIP-2."""
