"""The Python client: submit work, watch it, take its results."""
