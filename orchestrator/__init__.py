"""Sweeps: search, scheduling, tracking and Pareto fronts over fine-tuning trials."""
