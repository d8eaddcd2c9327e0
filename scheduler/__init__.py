"""The scheduler: a pure core that decides, a journal that remembers, a shell that delivers."""
