"""Use cases: one function for each command and route. The only place where rooms meet."""
