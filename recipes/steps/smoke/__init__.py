"""Serve a release tree with the real engine, ask it a battery of prompts, and measure."""
