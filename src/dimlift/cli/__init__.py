"""The command line: parses, calls one function, prints. No command imports torch before it needs it."""
