"""The host's code: lock, plan, store, engines, gates, card, publishing."""
