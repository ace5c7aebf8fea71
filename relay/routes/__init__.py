"""The native API of protocol §4: one file a resource, each call declared once as an operation."""
