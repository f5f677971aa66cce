"""Publishing to a Hub: both repos, or neither."""
