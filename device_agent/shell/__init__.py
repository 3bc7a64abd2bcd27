"""The agent's hands: one thread that drains one queue, and the files, child processes and
sockets that the decisions of ``device_agent.core`` need.
"""
