"""One module for each command of the command line: options to a specification, an action, a status."""
