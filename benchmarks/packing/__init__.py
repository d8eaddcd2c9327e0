"""How well are cards filled: workloads, a lower bound, and policies side by side."""
