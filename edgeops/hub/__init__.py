"""The running process behind `edgeops up`: it wires the rooms to the broker and the store."""
