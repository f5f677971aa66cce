"""``invoke compare A B``: what two repos of one architecture have in common, and how far apart they are."""
