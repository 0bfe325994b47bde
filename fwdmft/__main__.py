"""The command `fwdmft`, also as `python -m fwdmft`. Signals are looked after before the long imports begin."""

from fwdmft.interruption import end_on_signals


def main() -> None:
    end_on_signals()
    from fwdmft.cli import main as command

    command()


if __name__ == "__main__":
    main()
