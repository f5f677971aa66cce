"""From ``images/`` to a built, checked and recorded image; ``build.py`` is the story."""
