"""Files of strangers and files of ours: read with every size checked first, written whole or not at all."""
