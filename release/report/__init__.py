"""What a person sees while a release runs, and after it."""
