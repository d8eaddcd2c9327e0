"""remuda."""
