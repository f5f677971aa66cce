"""The memory guard, with real memory."""
