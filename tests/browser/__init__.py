"""The page and its modules, in a real browser against the real system."""
