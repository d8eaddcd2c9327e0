"""The settings: units in their names, and layers that say where a value comes from."""
