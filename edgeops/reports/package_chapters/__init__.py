"""Chapters of the page of a package: each returns one section of blocks, or None."""
