"""The paper's figures, held against what this project finds."""
