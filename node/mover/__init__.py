"""The process that moves files for an agent: cache, directories of tasks, the way to the store."""
