"""The command line: parse arguments, call one function, print results. torch is imported only when needed."""
