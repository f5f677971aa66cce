"""Can this machine do it? What is there, what is wanted, and what to type where they differ."""
