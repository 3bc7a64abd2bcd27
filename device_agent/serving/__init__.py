"""Local inference: the Python API of a few lines, and what it answers."""
