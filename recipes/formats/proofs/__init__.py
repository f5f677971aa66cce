"""Claims about a checkpoint, proved from its bytes: what a step and the host both prove."""
