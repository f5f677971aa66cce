"""Steps, run as the engines run them."""
