"""Tests of the scripted demo model."""
