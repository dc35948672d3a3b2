"""Untrusted files and our own: read with every size checked first, written whole or not at all."""
