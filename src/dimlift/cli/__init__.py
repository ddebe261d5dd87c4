"""The command line: parse arguments, call one function, print results. torch is imported only by commands that need it."""
