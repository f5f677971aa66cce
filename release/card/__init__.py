"""The model card and the legal files: every number from evidence, the ledger or the lock."""
