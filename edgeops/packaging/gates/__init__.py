"""Gates: what is measured of artifacts, and the thresholds on it."""
