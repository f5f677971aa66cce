"""Tests that run real parts together."""
