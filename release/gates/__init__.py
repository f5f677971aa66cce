"""Gates: evidence and thresholds → verdicts. Nothing but a pass lets a release go on."""
