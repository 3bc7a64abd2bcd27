"""The command line: each command is a few lines over the client or a local use case."""
