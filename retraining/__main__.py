"""`python -m retraining`: the command."""

from retraining.cli.main import main as main

if __name__ == "__main__":
    main()
