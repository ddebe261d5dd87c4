"""Sections of a configuration, the base classes of methods' options, and reading YAML."""
