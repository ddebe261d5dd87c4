"""Sections of a configuration, base classes of method options, and safe YAML parsing."""
