"""presence-gateway config: check the files, or print the reference of all keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """check and reference."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    check = actions.add_parser("check", help="validate gateway.toml, people.toml and tokens.toml, all problems at once")
    check.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/presence-gateway/gateway.toml"),
        metavar="FILE",
        help="the configuration (default: %(default)s)",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    reference = actions.add_parser("reference", help="print every key with its meaning and default")
    reference.add_argument("--markdown", action="store_true", help="as docs/configuration.md instead of as TOML")


def run(args: argparse.Namespace) -> int:
    """0: valid, or printed. 2: there are problems."""
    return _check(args.config, as_json=args.json) if args.action == "check" else _reference(markdown=args.markdown)


def _check(path: Path, *, as_json: bool) -> int:
    from gateway.clock import SystemClock
    from gateway.errors import ConfigError
    from gateway.loading import load_all

    problems: list[str] = []
    warnings: list[str] = []
    summary = ""
    try:
        settings = load_all(path, now=SystemClock().now)
        warnings += settings.warnings
        summary = (
            f"{len(settings.people)} people, {len(settings.config.calendars)} calendars, {len(settings.tokens)} tokens"
        )
    except ConfigError as error:
        problems += error.problems
    if as_json:
        import json

        print(json.dumps({"valid": not problems, "problems": problems, "warnings": warnings}))
        return 2 if problems else 0
    for problem in problems:
        print(problem, file=sys.stderr)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not problems:
        print(f"{path} is valid: {summary}")
    return 2 if problems else 0


def _reference(*, markdown: bool) -> int:
    from gateway.config.reference import as_markdown, as_toml

    print(as_markdown() if markdown else as_toml(), end="")
    return 0
