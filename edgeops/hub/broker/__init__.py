"""The MQTT broker that `edgeops up` runs: a child process that lives and dies with the hub."""

from edgeops.hub.broker.errors import (
    BrokerAccountRefused,
    BrokerError,
    BrokerHomeInUse,
    BrokerHomeUnusable,
    BrokerPortInUse,
    BrokerStartFailed,
    BrokerUnavailable,
)
from edgeops.hub.broker.find import BrokerKind, FoundMosquitto, find_mosquitto, make_broker
from edgeops.hub.broker.interface import Broker
from edgeops.hub.broker.iotcore import ManagedIotcore
from edgeops.hub.broker.mosquitto import HUB_USERNAME, ManagedMosquitto
from edgeops.trust.passwords import hash_password, verify_password

__all__ = [
    "HUB_USERNAME",
    "Broker",
    "BrokerAccountRefused",
    "BrokerError",
    "BrokerHomeInUse",
    "BrokerHomeUnusable",
    "BrokerKind",
    "BrokerPortInUse",
    "BrokerStartFailed",
    "BrokerUnavailable",
    "FoundMosquitto",
    "ManagedIotcore",
    "ManagedMosquitto",
    "find_mosquitto",
    "hash_password",
    "make_broker",
    "verify_password",
]
