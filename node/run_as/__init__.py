"""The privileged helper: starts tasks as other users of this host. Stdlib only, run by root."""
