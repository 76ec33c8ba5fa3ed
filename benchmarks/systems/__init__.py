"""Speed and memory of the system, each as a ratio to a peer that runs beside it."""
