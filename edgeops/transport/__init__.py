"""The hub's way to the broker: MQTT, or memory for tests and the simulation."""
