"""The sweep in a browser: an MLflow server on the store that `tracking` fills."""
