"""ModelNet40 and ModelNet10, and few-shot episodes on ModelNet40."""
