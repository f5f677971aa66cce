"""Hold the quantized release against its master: next-token distributions and the vision tower's output."""
