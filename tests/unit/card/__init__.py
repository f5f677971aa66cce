"""The card: what it says, and what it refuses to say."""
