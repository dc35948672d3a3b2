"""Open-vocabulary encoders of others: their files, and their numbers against the published ones."""
