"""Ask the served tree what is right or wrong, so that both trees' answers pair."""
