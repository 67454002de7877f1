"""presence-gateway token create: a new token, shown once."""

from __future__ import annotations

import argparse
import json
from datetime import date

from gateway.tokens import SCOPES, create_token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """create, with what the token is for."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a token", description="Make a token and its tokens.toml entry.")
    create.add_argument("--name", default="client", help="what it is called in logs (default: %(default)s)")
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help="what it is for; may be given several times (default: watch)",
    )
    create.add_argument("--level", choices=("colleague", "limited"), default="colleague", help="how much it sees")
    create.add_argument("--group", action="append", default=[], help="only people of this group; may be repeated")
    create.add_argument("--person", metavar="ID", help="a personal token of this person")
    create.add_argument("--expires", type=_date, metavar="YYYY-MM-DD", help="the first day on which it no longer works")
    create.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the token, which is stored nowhere, and the lines for tokens.toml."""
    new = create_token(
        args.name,
        scopes=args.scope or ["watch"],
        level=args.level,
        groups=args.group,
        person=args.person,
        expires=args.expires,
    )
    if args.json:
        print(json.dumps({"token": new.token, "entry": new.entry}))
    else:
        print(
            f"{new.token}\n\n# The token above is shown only now. Add these lines to tokens.toml:\n{new.entry}", end=""
        )
    return 0


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2027-01-01") from None
