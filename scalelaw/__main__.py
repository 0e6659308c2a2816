"""python -m scalelaw."""

from scalelaw.cli import main

main()
