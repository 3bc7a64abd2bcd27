"""The device watches its own model: counts only, never the inputs themselves."""
