"""All that knows of a command line: parsers, logging, signals, and what each command does."""
