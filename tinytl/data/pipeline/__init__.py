"""How images become batches: decoded once, cropped and coloured on the training device."""
