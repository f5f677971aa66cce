"""Give a grafted tree its configs, tokenizer and chat template."""
