"""Which images there are: what the datasets are, how they are laid out, fetched and checked."""
