"""presence-gateway serve: the daemon."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.loop import run_loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--config FILE."""
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/presence-gateway/gateway.toml"),
        metavar="FILE",
        help="the configuration (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from gateway import app

    return run_loop(app.serve(args.config))
