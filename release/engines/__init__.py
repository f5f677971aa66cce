"""The engines that run a step in its image: local (a virtual environment), docker (a container)."""
