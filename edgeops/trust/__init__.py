"""Keys and what is signed with them: the root of trust, packages, orders; passwords."""
