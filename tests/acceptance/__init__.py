"""Whole stories over real processes and services, as a client or an operator lives them."""
