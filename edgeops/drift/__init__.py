"""Drift: windows against the reference, by sequential evidence. Sketches in, verdict out; pure."""
