"""What runs inside a user's Python: the standard library and msgpack only, Python >= 3.9."""
