"""How bytes are laid out: one module per fact, pure, without torch."""
