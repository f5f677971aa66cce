"""The proofs, each on its own."""
