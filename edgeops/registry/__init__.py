"""Models, their versions and aliases: what was published, and which version is meant."""

from edgeops.registry.versions import (
    AliasStore,
    RegistryStore,
    VersionStore,
    list_models,
    list_versions,
    next_number,
    publish,
    resolve,
    set_alias,
)

__all__ = [
    "AliasStore",
    "RegistryStore",
    "VersionStore",
    "list_models",
    "list_versions",
    "next_number",
    "publish",
    "resolve",
    "set_alias",
]
