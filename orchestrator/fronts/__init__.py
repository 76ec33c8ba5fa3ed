"""Pareto fronts: found, drawn, and chosen from."""
