"""tokens.toml and the tokens it knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from gateway import tokens
from gateway.core.model import Level, Person
from gateway.errors import ConfigError
from gateway.people import People
from gateway.tokens import TokenTable, create_token
from gateway.web.ports import Tokens

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
PEOPLE = People([Person("ann@example.com", groups=("sales",)), Person("ben@example.com")])


def load(tmp_path: Path, text: str, now: Callable[[], datetime] = lambda: NOW) -> TokenTable:
    """The table of that text."""
    (tmp_path / "tokens.toml").write_text(text)
    return tokens.load(tmp_path / "tokens.toml", directory=PEOPLE, now=now)


def entry(token: str = "pgw_x", **others: object) -> str:
    """An entry for that token."""
    fields = {"name": '"chat"', "sha256": f'"{hashlib.sha256(token.encode()).hexdigest()}"', "scopes": '["watch"]'}
    fields |= {key: str(value) for key, value in others.items()}
    return "[[token]]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


def test_a_created_token_opens_what_its_entry_says(tmp_path: Path) -> None:
    """What `token create` prints works when it is put into tokens.toml."""
    new = create_token(
        "chat-server", scopes=["watch", "publish:phone"], level="limited", groups=["sales"], expires=date(2027, 1, 1)
    )
    assert new.token.startswith("pgw_")
    assert new.token not in new.entry
    table: Tokens = load(tmp_path, new.entry)
    reader = table.reader(new.token)
    assert reader is not None
    assert reader.scopes == {"watch", "publish:phone"}
    assert (reader.level, reader.person) == (Level.LIMITED, None)
    assert reader.groups == {"sales"}
    assert reader.expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert table.valid(reader)


def test_tokens_are_random_and_long() -> None:
    """32 random bytes each: 43 characters after the prefix, never the same twice."""
    made = {create_token("x").token for _ in range(20)}
    assert len(made) == 20
    assert {len(token) for token in made} == {4 + 43}
    assert create_token("x", randomness=bytes).token == "pgw_" + "A" * 43


@pytest.mark.parametrize("token", ["", "pgw_", "pgw_y", "pgw_x ", "\udcff", "x" * 5000])
def test_another_token_opens_nothing(tmp_path: Path, token: str) -> None:
    """Whatever its bytes are."""
    assert load(tmp_path, entry("pgw_x")).reader(token) is None


def test_a_token_ends_at_its_expiry(tmp_path: Path) -> None:
    """At that very instant, by the clock that is given, for new requests and for open streams."""
    now = NOW
    table = load(tmp_path, entry(expires="2026-11-20T10:00:00Z"), lambda: now)
    reader = table.reader("pgw_x")
    assert reader is not None
    now = NOW + timedelta(hours=1) - timedelta(milliseconds=1)
    assert table.valid(reader)
    now += timedelta(milliseconds=1)
    assert table.reader("pgw_x") is None
    assert not table.valid(reader)


def test_a_changed_or_removed_token_ends_open_streams(tmp_path: Path) -> None:
    """After a reload only a reader whose entry is still the same, hash included, is valid."""
    reader = load(tmp_path, entry()).reader("pgw_x")
    assert reader is not None
    assert load(tmp_path, entry()).valid(reader)
    assert not load(tmp_path, entry("pgw_y")).valid(reader)
    assert not load(tmp_path, entry(scopes='["watch", "admin"]')).valid(reader)
    assert not load(tmp_path, "").valid(reader)


def test_a_personal_token_is_that_person(tmp_path: Path) -> None:
    """Level self for her, the configured level for others."""
    reader = load(tmp_path, entry(person='"Ann@example.com"')).reader("pgw_x")
    assert reader is not None
    assert reader.level_for("ann@example.com") is Level.SELF
    assert reader.level_for("ben@example.com") is Level.COLLEAGUE


def test_the_token_of_a_person_who_left_opens_nothing(tmp_path: Path) -> None:
    """It is a warning, so that removing a person never blocks a reload."""
    table = load(tmp_path, entry(person='"zoe@example.com"'))
    assert table.reader("pgw_x") is None
    assert "zoe@example.com" in table.warnings[0]


def test_doubtful_tokens_are_warned_about(tmp_path: Path) -> None:
    """Groups nobody is in, and tokens that are over."""
    table = load(tmp_path, entry(groups='["sales", "salse"]', expires="2020-01-01"))
    assert len(table.warnings) == 2
    assert "'salse'" in table.warnings[0]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"name": '"two words"'}, "name"),
        ({"name": "[]"}, "name"),
        ({"sha256": '"ABC"'}, "sha256"),
        ({"scopes": "[]"}, "scopes"),
        ({"scopes": '["wach"]'}, "scopes"),
        ({"scopes": '"watch"'}, "scopes"),
        ({"level": '"self"'}, "level"),
        ({"level": "[]"}, "level"),
        ({"groups": '"sales"'}, "groups"),
        ({"person": "1"}, "person"),
        ({"expires": '"2027-01-01"'}, "expires"),
        ({"scope": '["watch"]'}, "scope"),
    ],
)
def test_a_faulty_entry_is_told_with_its_key(tmp_path: Path, fields: dict[str, str], key: str) -> None:
    """One fault is one line that says where, what, and what to write."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, entry(**fields))
    (line,) = caught.value.problems
    assert line.startswith("tokens.toml: token 1 (")
    assert f"): {key}: " in line


def test_a_token_in_clear_is_a_fault_and_is_not_repeated(tmp_path: Path) -> None:
    """Only hashes belong into the file."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, entry() + 'token = "pgw_topsecret"')
    assert any("only the hash" in line for line in caught.value.problems)
    assert "topsecret" not in str(caught.value)


def test_names_and_hashes_are_there_once(tmp_path: Path) -> None:
    """Logs and limits go by name, so two tokens must not share one, nor be one."""
    with pytest.raises(ConfigError, match="name: is there twice"):
        load(tmp_path, entry("pgw_1") + entry("pgw_2"))
    with pytest.raises(ConfigError, match="sha256: is there twice"):
        load(tmp_path, entry("pgw_1") + entry("pgw_1", name='"other"'))


def test_an_identity_from_a_proxy_watches(tmp_path: Path) -> None:
    """Somebody known is that person; a stranger may watch; neither may anything else."""
    table = load(tmp_path, "")
    ann, stranger = table.person(" Ann@Example.com "), table.person("guest@example.org")
    assert ann is not None
    assert stranger is not None
    assert (ann.person, stranger.person) == ("ann@example.com", None)
    assert ann.scopes == stranger.scopes == {"watch"}
    assert ann.level is stranger.level is Level.COLLEAGUE
    assert table.valid(ann)
    assert table.person("") is None
    assert table.person("a\nb") is None


def test_a_proxys_person_who_left_is_no_longer_the_same_reader(tmp_path: Path) -> None:
    """Her open streams end at the next look."""
    ann = load(tmp_path, "").person("ann@example.com")
    assert ann is not None
    assert not TokenTable({}, People([]), lambda: NOW).valid(ann)


def test_what_would_not_load_is_not_created() -> None:
    """`token create` refuses names and scopes that tokens.toml refuses."""
    with pytest.raises(ConfigError):
        create_token("two words")
    with pytest.raises(ConfigError):
        create_token("x", scopes=["everything"])
