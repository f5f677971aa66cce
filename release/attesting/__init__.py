"""What is said of a fixed tree by whoever made it: where it comes from, and a signature."""
