"""Prove from bytes what the model card will claim about both trees."""
