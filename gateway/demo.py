"""The whole product on loopback, in one process and a temporary directory: simulated Exchange, gateway, page.

The gateway reads real files, verifies the simulator's certificate, logs on with NTLM; calls and chat clients come in
over its own HTTP API. Nothing here is a short cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp

from gateway import logs
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.loading import load_all
from gateway.simulator import Simulator, World
from gateway.simulator.script import Happening, office, plan, play, populate
from gateway.tokens import create_token

GROUPS: Final = ("sales", "engineering", "support", "management")
PUSH_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


async def run(*, port: int, people: int, json: bool, script: bool) -> int:
    """Run until interrupted. `json`: print one line of JSON when ready instead of words; `script` False: a still world.

    A taken `port` means another free one.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="presence-gateway-demo-") as name:
        folder = Path(name)
        with (folder / "gateway.log").open("w", encoding="utf-8") as log_file:
            names = office(people)
            world = World(_now)
            populate(world, names)
            async with Simulator(world, directory=folder) as simulator:
                world.allow_impersonation(simulator.service_account)
                token = _write_files(folder, names, simulator, _free(port))
                clock = SystemClock()
                settings = load_all(folder / "gateway.toml", now=clock.now)
                logs.configure(form="json", stream=log_file).learn(settings.config.secrets)
                gateway = Gateway(settings, clock=clock)

                def ready() -> None:
                    if json:
                        _announce(gateway, token, names, simulator)
                    else:
                        _greet(gateway, token, names, folder)
                    if script:
                        players.append(loop.create_task(_push(happenings("phone", "availability"), gateway.url, token)))

                def happenings(*kinds: str) -> Iterator[Happening]:
                    return (each for each in plan(list(names), start) if each.kind in kinds)

                start = _now()
                players: list[asyncio.Task[None]] = []
                if script:  # the calendars first, so that the first reading finds them filled
                    players.append(loop.create_task(play(world, happenings("book", "delete"), _now, asyncio.sleep)))
                    await asyncio.sleep(0)
                try:
                    await gateway.run(stop, ready)
                finally:
                    for player in players:
                        player.cancel()
                    await asyncio.gather(*players, return_exceptions=True)
    return 0


def _write_files(folder: Path, names: Mapping[str, str], simulator: Simulator, port: int) -> str:
    """gateway.toml, people.toml, tokens.toml and the password; returns the token that may do everything."""
    password = folder / "ews-password"
    password.write_text(simulator.service_password + "\n", encoding="utf-8")
    password.chmod(0o600)
    (folder / "gateway.toml").write_text(
        f"""
[server]
listen = "127.0.0.1:{port}"

[store]
url = "sqlite:state.db"

[presence]
calendar_opt_in = true
show_until = true

[calendars.hq]
kind = "ews"
url = {jsonlib.dumps(simulator.ews_url)}
username = '{simulator.service_account}'
password_file = "ews-password"
auth = "ntlm"
ca_file = {jsonlib.dumps(str(simulator.ca_file))}
refresh = "10s"
background = "30s"
zone = "Europe/Berlin"

[limits]
drain = "500ms"
""",
        encoding="utf-8",
    )
    entries = [
        f'[[person]]\nid = "{address}"\nname = "{name}"\ncalendar = "hq"\ngroups = ["{GROUPS[number % len(GROUPS)]}"]\n'
        for number, (address, name) in enumerate(names.items())
    ]
    (folder / "people.toml").write_text("\n".join(entries), encoding="utf-8")
    scopes = ("watch", "publish:phone", "publish:availability", "preferences", "admin")
    minted = create_token("demo", scopes=scopes)
    (folder / "tokens.toml").write_text(minted.entry, encoding="utf-8")
    return minted.token


async def _push(happenings: Iterable[Happening], url: str, token: str) -> None:
    """Calls and chat clients, reported as a PBX and a chat server would: over the gateway's API."""
    bearer = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(url, headers=bearer, timeout=PUSH_TIMEOUT) as session:

        async def push(happening: Happening) -> None:
            fields = dict(happening.fields)
            label = fields.pop("line" if happening.kind == "phone" else "session")
            path = f"/v1/people/{happening.person}/{happening.kind}/{label}"
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # the plan tells it again soon
                async with session.put(path, json=fields) as answer:
                    await answer.read()

        await play(World(_now), happenings, _now, asyncio.sleep, push)


def _announce(gateway: Gateway, token: str, names: Mapping[str, str], simulator: Simulator) -> None:
    found = {"url": gateway.url, "token": token, "people": list(names), "simulator": simulator.as_json()}
    sys.stdout.write(jsonlib.dumps(found) + "\n")
    sys.stdout.flush()


def _greet(gateway: Gateway, token: str, names: Mapping[str, str], folder: Path) -> None:
    first = next(iter(names))
    bearer = f"-H 'Authorization: Bearer {token}'"
    sys.stdout.write(
        f"""
The office is open: {len(names)} people, a simulated Exchange, and a gateway that reads their calendars.

  Page    {gateway.url}/#token={token}
  Token   {token}
  Log     {folder / "gateway.log"}

Try, in another terminal:

  curl -s {bearer} {gateway.url}/v1/presence/{first}
  curl -sN {bearer} '{gateway.url}/v1/stream?group={GROUPS[0]}'
  curl -s -X PUT {bearer} -H 'Content-Type: application/json' -d '{{"state": "connected"}}' \
{gateway.url}/v1/people/{first}/phone/mobile

Ctrl-C ends it and removes everything.
"""
    )
    sys.stdout.flush()


def _free(port: int) -> int:
    """That port if nobody listens there, else any free one (0)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _now() -> datetime:
    return datetime.now(UTC)
