"""The footprint of an agent: what it costs beside a bare script with the same model."""
