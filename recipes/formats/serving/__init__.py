"""How a tree is served: the profile as meaning, its flags for an engine, its memory."""
