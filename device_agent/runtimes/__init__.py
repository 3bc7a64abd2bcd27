"""The runtimes that models run on, behind one Protocol, and the child that tries models out.

Each adapter imports its runtime when it is itself imported, so only ``get_runtime`` decides
what a device loads. Unknown models are never loaded into the agent first: ``child`` starts
``probe`` in a process of its own, since a broken model can crash native code.
"""
