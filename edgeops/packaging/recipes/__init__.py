"""Recipes: how artifacts are made, as data; those that come ready, and those that people write."""

from edgeops.packaging.recipes.ready import AUTO, RECIPES, parse_recipe, read_recipe
from edgeops.packaging.recipes.schema import Recipe, Rule

__all__ = ["AUTO", "RECIPES", "Recipe", "Rule", "parse_recipe", "read_recipe"]
