"""Tests of the house itself: its services, its rules and its files."""
