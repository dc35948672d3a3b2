"""ShapeNetPart: objects with a part label for each point."""
