"""Drawings of a report, each a function from facts to a matplotlib figure."""
