"""What can be looked up: the words of options and keys, and the pages that are made from code."""
