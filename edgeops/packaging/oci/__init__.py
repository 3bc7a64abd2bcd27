"""Packages as OCI image layouts: folders that other tools can read and carry."""
