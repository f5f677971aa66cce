"""Provenance and signatures."""
