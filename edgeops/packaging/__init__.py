"""From trained model files to a signed package that devices can be sent.

Read the files (``inspect``), run them in a child process on the runtimes that devices run
(``evaluate``), hold the measured facts against the gates, plan one variant an artifact
(``variants``), and write manifest, artifacts and golden rows as an OCI layout (``layout``).
"""
