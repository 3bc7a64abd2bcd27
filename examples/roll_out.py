"""A rollout from Python: wait for its end, and tell CI by the exit code.

EDGEOPS_HUB=http://hub:8080 EDGEOPS_TOKEN=eo_… python roll_out.py digits:1 site=lab
"""

import os
import sys

from edgeops.client import Client

version, selector = sys.argv[1:]
with Client(os.environ["EDGEOPS_HUB"], token=os.environ["EDGEOPS_TOKEN"]) as hub:
    rollout = hub.create_rollout(
        version, selector=selector, canary=1, steps=[100], probation={"min_inferences": 50}
    )
    end = hub.wait_for_rollout(rollout["id"], timeout_s=120)
    for member in end["members"]:
        print(member["device"], member["state"], member["reason"] or "")
    sys.exit(0 if end["state"] == "completed" else 4)
