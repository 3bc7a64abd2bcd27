"""The contract between hub and device: documents, topics, chunks, reasons, errors.

Standard library only and no IO: what the slowest-changing party (the device) understands *is*
the contract, so both wheels import it from here. ``docs/protocol.md`` is its description; the
examples there are tests.
"""
