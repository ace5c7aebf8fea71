"""The relay: its edge, its streams and its commands."""
