"""The three memory numbers: modeled, saved and peak bytes."""
