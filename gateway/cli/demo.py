"""presence-gateway demo: the whole product on loopback."""

from __future__ import annotations

import argparse

from gateway.cli.loop import run_loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--port, --people, --json, --no-script."""
    parser.add_argument("--port", type=_port, default=8080, help="where the page is; taken: another free one")
    parser.add_argument("--people", type=_people, default=40, help="how many people there are (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON line when ready, for programs")
    parser.add_argument(
        "--no-script", action="store_true", help="keep the world still: nobody meets or calls by itself"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demonstration until interrupted."""
    from gateway import demo

    return run_loop(demo.run(port=args.port, people=args.people, json=args.json, script=not args.no_script))


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; choose one from 1 to 65535 (0: any free one)")
    return int(text)


def _people(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 20_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and 20000")
    return int(text)
