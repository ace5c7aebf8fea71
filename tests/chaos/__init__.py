"""Real processes, real faults, and a checker of the whole history that they leave."""
