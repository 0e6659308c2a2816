"""Engines: they decide which process trains which runs, and call the one command, `scalelaw run RESULTS ID...`."""
