"""The guided run: a whole life of a model on a small fleet, over the public commands."""
