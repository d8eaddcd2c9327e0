"""The node: an agent that takes offers, and the runners that keep its tasks alive without it."""
