"""Type II: the monitor as a program of a host operating system."""
