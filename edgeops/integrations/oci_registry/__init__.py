"""OCI registries: packages travel to and from them as any other OCI artifact.

A client of the OCI distribution API, version 1.1, as far as packages need it:
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

A registry is not trusted. It is asked for bytes of a known digest and size, and what it sends is
bounded and checked; it is told a password only when it asks, and no other host is.
"""
