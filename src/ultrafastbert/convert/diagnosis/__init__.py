"""How the leaves of a fast model are used, and how well a dense one would convert."""
