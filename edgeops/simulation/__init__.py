"""A simulated world for the agent and the hub: virtual clock, seeded faults, invariants.

What is simulated is the world alone: disk, network, time, runtimes. The agent's loop, its journal
and its update logic, the hub's use cases and its database are the real ones (ADR 10).
"""
