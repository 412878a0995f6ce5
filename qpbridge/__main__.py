"""The program: ``qpbridge``, or ``python -m qpbridge``."""

from qpbridge.cli import main
from qpbridge.cli.lazy_packages import import_in_pieces


def run() -> None:
    """Run the program in this process, which is then its own."""
    import_in_pieces("monai")
    main(prog_name="qpbridge")


if __name__ == "__main__":
    run()
