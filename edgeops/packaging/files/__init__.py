"""Model files: what they are, told by their bytes, before any converter sees them."""
