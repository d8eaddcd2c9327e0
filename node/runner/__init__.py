"""The runner: parent of one command or one warm worker, outlives the agent. Stdlib only."""
