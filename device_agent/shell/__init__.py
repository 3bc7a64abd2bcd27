"""The agent's hands: the loop, and the files, processes and sockets that decisions need."""
