"""presence-gateway simulate: the Exchange simulator alone, for other people's tests."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from gateway.cli.loop import run_loop
from gateway.errors import GatewayError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where, and how lively."""
    parser.add_argument("--port", type=int, default=0, help="HTTPS port on loopback (default: any free one)")
    parser.add_argument("--people", type=int, default=12, help="how many mailboxes there are (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where ca.pem is written (default: a temporary directory)")
    parser.add_argument("--no-script", action="store_true", help="keep the world still: nobody meets by itself")
    parser.add_argument("--json", action="store_true", help="print one JSON line when ready, for programs")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted, which is the ordinary end; the temporary directory is removed then."""
    return run_loop(_simulate(args))


async def _simulate(args: argparse.Namespace) -> int:
    from gateway.simulator import script

    if args.directory is not None:
        args.directory.mkdir(parents=True, exist_ok=True)
    serving = asyncio.ensure_future(
        script.run(
            _announce_json if args.json else _announce,
            size=args.people,
            port=args.port,
            directory=args.directory,
            lively=not args.no_script,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        return 0
    except OSError as error:
        raise GatewayError(
            f"the simulator cannot listen: {(error.strerror or str(error)).lower()}",
            code="net.refused",
            hint="choose another --port, or 0 for any free one",
        ) from None
    return 0


def _announce_json(ready: dict[str, object]) -> None:
    print(json.dumps(ready, separators=(",", ":")), flush=True)


def _announce(ready: dict[str, object]) -> None:
    simulator = ready["simulator"]
    assert isinstance(simulator, dict)
    people = ready["people"]
    assert isinstance(people, list)
    print("Exchange simulator, ready. Nothing in it is real; end it with Ctrl-C.\n")
    for name, value in simulator.items():
        if value is not None:
            print(f"  {name:<18}{value}")
    print(f"  {'people':<18}{', '.join(people[:4])}{' …' if len(people) > 4 else ''} ({len(people)})\n")
    print("Try:")
    print(
        f"  curl --cacert {simulator['ca_file']} --ntlm -u '{people[0]}:{simulator['mailbox_password']}' "
        f"{simulator['ews_url']}"
    )
    sys.stdout.flush()
