"""Golden conversations: what the release's chat template makes of each."""
