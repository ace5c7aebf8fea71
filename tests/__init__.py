"""The test suite: one folder a package, and real services wherever one can be run."""
