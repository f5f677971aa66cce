"""Rows of text or chat, and the tokens that a release's own tokenizer and template make of them."""
