"""Layers: stock ones that the method needs, and twins that keep only what the gradients need."""
