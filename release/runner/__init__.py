"""The host of the self-hosted runner: what it needs, and ``invoke runner-setup``."""
