"""Where releases go: two repos that appear together, or not at all."""
