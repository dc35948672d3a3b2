"""From a cloud to patch tokens: grouping, embedding, masking."""
