"""A client of the HTTP API that holds one token."""

from __future__ import annotations

from typing import Any

import aiohttp

from tests.story.office import address

TIMEOUT = aiohttp.ClientTimeout(total=10)


class Refusal(AssertionError):
    """The gateway answered something else than success; `status` and `problem` say what."""

    def __init__(self, status: int, problem: Any) -> None:
        super().__init__(f"{status} {problem}")
        self.status = status
        self.problem = problem


class Api:
    """One caller. Answers other than success raise Refusal."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(
            url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
            connector=aiohttp.TCPConnector(limit=20),
        )

    async def close(self) -> None:
        """Leave."""
        await self._session.close()

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of the answer, None for 204."""
        async with self._session.request(method, path, json=body) as answer:
            told = await answer.json(content_type=None) if answer.status != 204 else None
            if answer.status >= 400:
                raise Refusal(answer.status, told)
            return told

    async def get(self, path: str) -> Any:
        """GET."""
        return await self.ask("GET", path)

    async def put(self, path: str, **body: object) -> Any:
        """PUT of these fields."""
        return await self.ask("PUT", path, body)

    async def refusal(self, method: str, path: str, body: object = None) -> int:
        """The status of a request that must fail."""
        try:
            told = await self.ask(method, path, body)
        except Refusal as refusal:
            return refusal.status
        raise AssertionError(f"{method} {path} succeeded: {told}")

    async def presence(self, name: str) -> Any:
        """Somebody's document."""
        return await self.get(f"/v1/presence/{address(name)}")

    async def documents(self) -> dict[str, bytes]:
        """Everybody visible, each document as the bytes it was sent in."""
        listed = await self.get("/v1/presence")
        found = {}
        for person in (document["person"] for document in listed["presence"]):
            async with self._session.get(f"/v1/presence/{person}") as answer:
                assert answer.status == 200
                found[person] = await answer.read()
        return found

    async def phone(self, name: str, state: str, line: str = "desk", **more: object) -> Any:
        """A PBX tells of a line."""
        return await self.put(f"/v1/people/{address(name)}/phone/{line}", state=state, **more)

    async def hangs_up(self, name: str, line: str = "desk") -> None:
        """A PBX tells that a line is gone."""
        await self.ask("DELETE", f"/v1/people/{address(name)}/phone/{line}")

    async def session(self, name: str, state: str, client: str = "laptop", **more: object) -> Any:
        """A chat client tells of its owner."""
        return await self.put(f"/v1/people/{address(name)}/availability/{client}", state=state, **more)

    async def prefers(self, name: str, **chosen: object) -> Any:
        """Somebody changes preferences."""
        return await self.ask("PATCH", f"/v1/people/{address(name)}/preferences", chosen)
