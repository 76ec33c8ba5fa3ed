"""What trials need of a machine, and what it really has."""
