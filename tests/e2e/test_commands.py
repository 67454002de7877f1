"""The real command in processes of its own: what it prints works as printed, and it ends as it should."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from gateway.clock import SystemClock
from gateway.simulator import Entry
from tests.story.api import Api
from tests.story.office import ANN, BEN, address
from tests.story.owner import Owner
from tests.story.process import Process, completed, running, serving
from tests.story.product import Files, write_files
from tests.story.screen import open_screen
from tests.story.waiting import until
from tests.story.witness import WITNESS, is_ours

CLOCK = SystemClock()
KEYS = {"url", "token", "people", "simulator"}
SIMULATOR_KEYS = {
    "ews_url",
    "webdav_url",
    "control_url",
    "ami",
    "ca_file",
    "service_account",
    "service_password",
    "mailbox_password",
}
DEMO_REFRESH = 10.0
"""Seconds between two readings of a watched calendar in the demonstration."""
QUICKLY = 3.0
"""Seconds in which a process that was asked to end is gone."""


@dataclass
class Demo:
    """A running demonstration and what it printed."""

    process: Process
    told: dict[str, Any]

    @property
    def url(self) -> str:
        """The page and the API."""
        return str(self.told["url"])

    @property
    def environment(self) -> dict[str, str]:
        """What the client commands take from the environment."""
        return {"PRESENCE_GATEWAY_URL": self.url, "PRESENCE_GATEWAY_TOKEN": str(self.told["token"])}

    @asynccontextmanager
    async def api(self) -> AsyncIterator[Api]:
        """A caller with the printed token."""
        api = Api(self.url, str(self.told["token"]))
        try:
            yield api
        finally:
            await api.close()

    async def control(self, what: str) -> Any:
        """What the simulator's control endpoint says."""
        async with aiohttp.request("GET", f"{self.told['simulator']['control_url']}/{what}") as answer:
            return await answer.json()


@asynccontextmanager
async def demonstration(*arguments: str) -> AsyncIterator[Demo]:
    """`presence-gateway demo --json` on a free port; at the end the suite's witness hears what Exchange was asked."""
    async with running("demo", "--json", "--people", "12", *(arguments or ("--no-script", "--port", "0"))) as process:
        demo = Demo(process, json.loads(await process.prints("{")))
        yield demo
        journal = await demo.control("journal?limit=10000")
        entries = [Entry(**(entry | {"properties": frozenset(entry["properties"])})) for entry in journal]
        assert any(map(is_ours, entries))
        WITNESS.hear(entries)


async def everybody_was_read(api: Api) -> None:
    """Wait until no calendar is pending."""
    while True:
        told = (await api.get("/v1/calendars/hq/mailboxes"))["mailboxes"]
        if told and all(each["code"] != "pending" for each in told):
            return
        await asyncio.sleep(0.02)


async def test_the_demo_prints_one_line_of_json_and_serves_page_and_api() -> None:
    """The keys are those of the contract, faces that do not exist are null, and the token opens the API."""
    async with demonstration() as demo:
        assert demo.process.out == [json.dumps(demo.told)]
        assert demo.told.keys() == KEYS
        assert demo.told["simulator"].keys() == SIMULATOR_KEYS
        assert demo.told["simulator"]["webdav_url"] is None
        assert demo.told["simulator"]["ami"] is None
        assert len(demo.told["people"]) == 12
        async with aiohttp.request("GET", f"{demo.url}/") as page:
            assert (page.status, page.content_type) == (200, "text/html")
        async with demo.api() as api:
            listed = await api.get("/v1/presence")
            assert sorted(document["person"] for document in listed["presence"]) == sorted(demo.told["people"])
            await everybody_was_read(api)
            codes = [each["code"] for each in (await api.get("/v1/calendars/hq/mailboxes"))["mailboxes"]]
            assert sorted(set(codes)) == ["ok", "permission.denied"]
            assert codes.count("permission.denied") == 1


async def test_a_still_demo_shows_what_a_mailbox_owner_books_and_nothing_else() -> None:
    """exchangelib, with nothing but the printed data, books a meeting, and it is shown within an interval."""
    async with demonstration() as demo:
        simulator = demo.told["simulator"]
        before = (await demo.control("state"))["people"]
        assert all(person["appointments"] == [] for person in before)
        async with open_screen(demo.url, demo.told["token"], CLOCK) as screen:
            await screen.shows("ann", where=lambda document: document["components"]["calendar"]["state"] == "free")
            seen = len(screen.seen)
            owner = Owner(
                ANN, simulator["mailbox_password"], simulator["ews_url"], Path(simulator["ca_file"]), auth="ntlm"
            )
            now = CLOCK.now().replace(microsecond=0)
            async with owner.at_work() as ann:
                await ann.books(now - timedelta(minutes=10), now + timedelta(minutes=50))
                document = await screen.shows("ann", "In a meeting", within=DEMO_REFRESH * 1.05 + 1)
            assert document["effective"]["until"] is not None
            told = {found.event.person for found in screen.seen[seen:] if found.event.name == "presence"}
            assert told <= {ANN}  # whose calendar was not read yet at the beginning is told before


async def test_a_taken_port_means_another_one() -> None:
    """The demonstration starts all the same, and says where."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with demonstration("--no-script", "--port", str(port)) as demo:
            assert not demo.url.endswith(f":{port}")
            async with demo.api() as api:
                await everybody_was_read(api)
                assert (await api.presence("ann"))["person"] == ANN


async def test_the_scripted_demo_moves_by_itself() -> None:
    """Within seconds somebody is in a meeting, on the phone, out of office, and somebody's calendar is refused."""
    async with demonstration("--port", "0") as demo, open_screen(demo.url, demo.told["token"], CLOCK) as screen:

        def labels() -> set[str | None]:
            return {screen.label(person) for person in screen.people}

        wanted = {"In a meeting", "On the phone", "Out of office", "Available"}
        await until(lambda: wanted <= labels(), CLOCK, within=30, what=f"{wanted}")


def lines_to_try(process: Process) -> list[str]:
    """The printed curl lines."""
    assert shutil.which("curl"), "this test needs the Debian package curl"
    return [line.strip() for line in process.out if line.startswith("  curl ")]


async def shell(line: str) -> tuple[int, str]:
    """Run a line as a shell does; gives exit code and output."""
    process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, out.decode()


async def shell_until(line: str, text: str) -> str:
    """Run a line that goes on for ever until its output holds that text; gives the output."""
    process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    out = ""
    try:
        async with asyncio.timeout(20):
            while text not in out:
                piece = await process.stdout.read(65536)
                assert piece, f"it ended with {out[-200:]!r}"
                out += piece.decode()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await process.communicate()
    return out


async def test_the_printed_curl_lines_work_as_printed() -> None:
    """One document, one stream, one call that somebody takes; at the end nothing is left of it all."""
    async with running("demo", "--no-script", "--people", "12", "--port", "0") as process:
        await process.prints("Ctrl-C")
        one, stream, call = lines_to_try(process)
        folder = Path(next(line for line in process.out if line.startswith("  Log ")).split()[1]).parent
        assert folder.is_dir()

        code, out = await shell(one)
        assert code == 0
        person = json.loads(out)["person"]
        assert json.loads(out)["effective"]["label"] == "Offline"

        out = await shell_until(stream, "event: synced")
        assert out.count("event: presence") == 3

        code, out = await shell(call)
        assert code == 0
        assert json.loads(out).keys() == {"expires_at", "seq"}
        code, out = await shell(one)
        assert (json.loads(out)["person"], json.loads(out)["effective"]["label"]) == (person, "On the phone")

        process.sends(signal.SIGINT)
        assert await process.ends(within=QUICKLY + 5) == 0
        assert not folder.exists()
        assert process.err == []


async def test_why_and_watch_tell_what_the_gateway_knows() -> None:
    """`why` explains the rule, `watch` prints every change, as text or as JSON, and `--once` ends."""
    async with demonstration() as demo, demo.api() as api:
        await everybody_was_read(api)
        await api.session("ann", "available")
        await api.phone("ann", "connected")

        code, out, err = await completed("why", ANN, **demo.environment)
        assert (code, err) == (0, "")
        assert "On the phone" in out
        assert "phone > calendar > availability" in out
        code, out, _ = await completed("why", "--json", ANN, **demo.environment)
        assert code == 0
        assert json.loads(out)["presence"]["tooltip"] == "Online, On the phone"
        code, _, err = await completed("why", "nobody@example.com", **demo.environment)
        assert code == 1
        assert "[person.unknown]" in err

        code, out, _ = await completed("watch", "--once", "--group", "sales", **demo.environment)
        assert code == 0
        assert f"{ANN}\tOn the phone\tbusy" in out

        async with running("watch", "--json", ANN, **demo.environment) as watch:
            await until(lambda: any('"synced"' in line for line in watch.out), CLOCK)
            await api.hangs_up("ann")
            await until(lambda: bool(watch.out) and '"Available"' in watch.out[-1], CLOCK)
            events = [json.loads(line) for line in watch.out]
            assert [event["event"] for event in events] == ["presence", "synced", "presence"]
            assert [each["data"]["effective"]["label"] for each in events if each["event"] == "presence"] == [
                "On the phone",
                "Available",
            ]
            watch.sends(signal.SIGINT)
            assert await watch.ends() == 130


async def test_client_commands_say_what_is_wrong_and_fail() -> None:
    """No gateway there, no token, a token that is not known: exit 1 or 2, one line, no traceback."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        code, _, err = await completed("why", ANN, PRESENCE_GATEWAY_URL=url, PRESENCE_GATEWAY_TOKEN="pgw_x")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "[net.refused]" in err
    code, _, err = await completed("watch", "--once", PRESENCE_GATEWAY_URL=url)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "PRESENCE_GATEWAY_TOKEN" in err


async def test_simulate_is_an_exchange_for_other_peoples_clients(tmp_path: Path) -> None:
    """It prints how to connect, a foreign client logs on and books, and SIGTERM is its ordinary end."""
    folder = tmp_path / "exchange"
    async with running("simulate", "--json", "--no-script", "--people", "3", "--directory", folder) as process:
        told = json.loads(await process.prints("{"))
        simulator = told["simulator"]
        assert simulator.keys() == SIMULATOR_KEYS
        assert simulator["ca_file"] == str(folder / "ca.pem")
        owner = Owner(
            told["people"][0], simulator["mailbox_password"], simulator["ews_url"], folder / "ca.pem", auth="basic"
        )
        async with owner.at_work() as somebody:
            now = CLOCK.now().replace(microsecond=0)
            await somebody.books(now, now + timedelta(hours=1))
        async with aiohttp.request("GET", f"{simulator['control_url']}/state") as answer:
            assert len((await answer.json())["people"][0]["appointments"]) == 1
        process.sends(signal.SIGTERM)
        assert await process.ends(within=QUICKLY + 5) == 0
        assert process.err == []


async def test_a_token_made_by_the_command_opens_the_daemon_after_a_reload(tmp_path: Path) -> None:
    """`token create` prints it once with its entry; SIGHUP puts the entry in force without dropping a watcher."""
    files = write_files(tmp_path, [ANN, BEN])
    code, out, _ = await completed("token", "create", "--json", "--name", "wall", "--scope", "watch")
    assert code == 0
    made = json.loads(out)
    async with running("serve", "--config", files.config) as process:
        url = await serving(process)
        async with open_screen(url, files.tokens["watch"], CLOCK) as screen:
            wall = Api(url, made["token"])
            try:
                assert await wall.refusal("GET", f"/v1/presence/{ANN}") == 401
                with (tmp_path / "tokens.toml").open("a", encoding="utf-8") as tokens:
                    tokens.write("\n" + made["entry"])
                process.sends(signal.SIGHUP)
                await process.says("config.files.reloaded")
                assert (await wall.presence("ann"))["person"] == ANN
            finally:
                await wall.close()
            assert not screen.closed
            assert made["token"] not in "\n".join(process.err)


async def test_config_check_finds_every_problem(tmp_path: Path) -> None:
    """Exit 0 and a summary, or exit 2 with one line per problem of all three files; `serve` refuses them alike."""
    files = write_files(tmp_path, [ANN, BEN])
    code, out, err = await completed("config", "check", "--config", files.config)
    assert (code, err) == (0, "")
    assert "2 people, 0 calendars, 5 tokens" in out
    spoil(files)
    code, out, err = await completed("config", "check", "--config", files.config)
    assert (code, out) == (2, "")
    assert {line.partition(":")[0] for line in err.splitlines()} == {"gateway.toml", "people.toml", "tokens.toml"}
    code, out, refused = await completed("serve", "--config", files.config)
    assert (code, out, refused) == (2, "", err)


def contents(files: Files) -> dict[Path, str]:
    """What is in the files."""
    return {file: file.read_text() for file in files.folder.glob("*.toml")}


def spoil(files: Files) -> None:
    """A fault in each of the files."""
    for name in ("gateway", "people", "tokens"):
        with (files.folder / f"{name}.toml").open("a", encoding="utf-8") as file:
            file.write("\n[nonsense]\n")


async def test_serve_says_which_port_is_taken_and_fails(tmp_path: Path) -> None:
    """Exit 2, one line that names the key, no traceback."""
    files = write_files(tmp_path, [ANN])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        files.config.write_text(files.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        code, out, err = await completed("serve", "--config", files.config)
    assert (code, out) == (2, "")
    (problem,) = [line for line in err.splitlines() if not line.startswith("{")]
    assert problem.startswith("gateway.toml: server.listen: cannot listen on")


async def test_serve_says_that_its_store_is_in_use_and_fails(tmp_path: Path) -> None:
    """Two daemons on one file: the second exits 1 with the reason code, the first goes on."""
    files = write_files(tmp_path, [ANN])
    async with running("serve", "--config", files.config) as first:
        url = await serving(first)
        code, _, err = await completed("serve", "--config", files.config)
        assert code == 1
        assert "[store.locked]" in err
        assert "Traceback" not in err
        api = Api(url, files.tokens["all"])
        assert (await api.presence("ann"))["person"] == ANN
        await api.close()


async def test_sigterm_ends_the_daemon_quickly_and_cleanly_with_streams_open(tmp_path: Path) -> None:
    """Every watcher hears `bye` and then the end; the exit code is 0."""
    files = write_files(tmp_path, [ANN, BEN])
    async with running("serve", "--config", files.config) as process:
        url = await serving(process)
        async with (
            open_screen(url, files.tokens["watch"], CLOCK) as one,
            open_screen(url, files.tokens["limited"], CLOCK) as another,
        ):
            began = time.monotonic()
            process.sends(signal.SIGTERM)
            for screen in (one, another):
                await screen.hears("bye")
                await until(lambda screen=screen: screen.closed, CLOCK)  # type: ignore[misc]
            assert await process.ends(within=QUICKLY) == 0
            assert time.monotonic() - began < QUICKLY
        assert [line["event"] for line in process.log][-2:] == ["app.gateway.stopping", "app.gateway.stopped"]
        assert not [line for line in process.log if line["level"] in ("warning", "error")]


async def test_sighup_reloads_the_directory_and_keeps_every_watcher(tmp_path: Path) -> None:
    """Who comes is shown, who goes is gone, and faulty files change nothing but the log."""
    files = write_files(tmp_path, [ANN, BEN])
    async with running("serve", "--config", files.config) as process:
        url = await serving(process)
        async with open_screen(url, files.tokens["watch"], CLOCK) as screen:
            assert screen.people == {ANN, BEN}
            files.write_people([ANN, BEN, address("carla")], calendar=False)
            process.sends(signal.SIGHUP)
            await screen.shows("carla", "Offline")

            good = contents(files)
            spoil(files)
            process.sends(signal.SIGHUP)
            await process.says("config.files.refused", times=3)
            assert screen.people == {ANN, BEN, address("carla")}

            for file, text in good.items():
                file.write_text(text)
            files.write_people([ANN, address("carla")], calendar=False)
            process.sends(signal.SIGHUP)
            await screen.forgets("ben")
            assert "reset" not in screen.names
            assert not screen.closed


RELOADED_TOO_EARLY = """
import asyncio, os, signal, sys
from gateway import app
from gateway.cli import main

class Store(app.SqliteStore):
    @classmethod
    async def open(cls, *arguments, **options):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.1)
        return await super().open(*arguments, **options)

app.SqliteStore = Store
sys.exit(main(["serve", "--config", sys.argv[1]]))
"""


async def test_a_sighup_during_the_start_is_answered_after_it(tmp_path: Path) -> None:
    """A service manager may be hasty: the daemon starts all the same, and then reloads."""
    files = write_files(tmp_path, [ANN])
    async with running(files.config, instead=("-c", RELOADED_TOO_EARLY)) as process:
        await serving(process)
        await process.says("config.files.reloaded")
        process.sends(signal.SIGTERM)
        assert await process.ends(within=QUICKLY) == 0
