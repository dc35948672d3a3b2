"""Many runs as one experiment: seeds, folds, comparisons."""
