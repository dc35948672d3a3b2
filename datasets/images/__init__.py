"""Rendered images: views and augmentation, before a frozen image teacher sees them."""
