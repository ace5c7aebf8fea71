"""What the hot path costs, in parts and as a whole: `make bench`. Nothing here is a timed test."""
