"""`python -m reach` is `reach`."""

from reach.cli import main

main()
