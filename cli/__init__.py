"""The `remuda` command: what operators and users type."""
