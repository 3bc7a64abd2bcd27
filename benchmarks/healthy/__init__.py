"""Healthy packages: a named list of models and recipes that the gates must not reject."""
