"""Delivery: chunks are published once for everybody who misses them, at a bounded rate."""
