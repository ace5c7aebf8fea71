"""The commands of `persona-relay`, one file a group; each imports what it needs when it runs."""
