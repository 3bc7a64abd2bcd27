"""Measured claims: each module is one benchmark, ``make bench NAME=module``."""
