"""The build record: how a package was made, what it is made of, and making it again."""
