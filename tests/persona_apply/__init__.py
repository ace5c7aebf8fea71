"""What the pure rules promise, as tables of cases and properties."""
