"""The Python client of a hub: what the CLI itself uses.

::

    from edgeops.client import Client

    with Client("http://127.0.0.1:8080", token="eo_…") as hub:
        rollout = hub.create_rollout("kws:2", selector="site=oslo", canary=1)
        print(hub.wait_for_rollout(rollout["id"])["state"])

It speaks HTTP and nothing else. Answers are the API's JSON as dictionaries; errors are those of
``edgeops.domain.errors``, with cause and next step.
"""

from edgeops.client.hub import Client
from edgeops.domain.errors import HubUnreachable

__all__ = ["Client", "HubUnreachable"]
