"""What a sweep starts from: datasets, weights, and where it runs."""
