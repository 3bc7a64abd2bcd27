"""The agent's decisions: pure tables and functions, no IO, no clock, no chance."""
