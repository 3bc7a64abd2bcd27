"""Rows: labelled inputs as people bring them, what a model answers them, what is normal."""
