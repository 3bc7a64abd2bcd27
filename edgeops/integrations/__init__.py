"""Ways to systems of others. Each is optional: nothing else needs it."""
