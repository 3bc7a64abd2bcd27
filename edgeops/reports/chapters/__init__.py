"""Chapters of a report: each turns the facts into one section of blocks."""
