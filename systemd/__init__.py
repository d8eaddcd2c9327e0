"""How the daemons stand under systemd on a host: the units, and what puts them there."""
