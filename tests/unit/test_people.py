"""people.toml: the directory."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from gateway import people
from gateway.core.model import Person
from gateway.errors import ConfigError
from gateway.people import People
from gateway.web.ports import Directory


def load(tmp_path: Path, text: str) -> People:
    """The directory of that text, where the calendar hq and the phones pbx are configured."""
    (tmp_path / "people.toml").write_text(text)
    return people.load(tmp_path / "people.toml", calendars={"hq"}, phones={"pbx"})


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with that text."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return caught.value.problems


def test_a_full_entry_becomes_a_person(tmp_path: Path) -> None:
    """Every key of the contract arrives, the id in lower case."""
    found: Directory = load(
        tmp_path,
        """
        [[person]]
        id = "Ann@Example.com"
        name = "Ann Archer"
        calendar = "hq"
        mailbox = "a.archer@example.com"
        phones = { pbx = ["PJSIP/1001", "PJSIP/1002"] }
        groups = ["sales", "sales", "board"]
        calendar_opt_in = true
        """,
    )
    assert found.get("ann@example.com") == Person(
        id="ann@example.com",
        name="Ann Archer",
        calendar="hq",
        mailbox="a.archer@example.com",
        phones={"pbx": ("PJSIP/1001", "PJSIP/1002")},
        groups=("sales", "board"),
        calendar_opt_in=True,
    )


def test_the_mailbox_defaults_to_the_id(tmp_path: Path) -> None:
    """With a calendar; without one there is no mailbox."""
    found = load(tmp_path, '[[person]]\nid = "b@example.com"\ncalendar = "hq"\n[[person]]\nid = "a"')
    assert [person.mailbox for person in found.everybody()] == [None, "b@example.com"]


def test_people_are_sorted_and_grouped(tmp_path: Path) -> None:
    """everybody and group answer in the order of ids; an unknown group is empty."""
    text = "".join(f'[[person]]\nid = "{name}"\ngroups = ["x"]\n' for name in ("c", "a", "b"))
    found = load(tmp_path, text)
    assert [person.id for person in found.everybody()] == ["a", "b", "c"]
    assert [person.id for person in found.group("x")] == ["a", "b", "c"]
    assert list(found.group("y")) == []
    assert found.get("d") is None


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("id = 1", "id"),
        ('id = "a b"', "id"),
        ('id = "a/b"', "id"),
        ('id = ".."', "id"),
        ('id = ""', "id"),
        ('id = "a"\nname = 2', "name"),
        ('id = "a"\nname = "two\\nlines"', "name"),
        ('id = "a@example.com"\ncalendar = "hx"', "calendar"),
        ('id = "a@example.com"\ncalendar = ["hq"]', "calendar"),
        ('id = "ann"\ncalendar = "hq"', "mailbox"),
        ('id = "a"\nmailbox = "nobody"', "mailbox"),
        ('id = "a"\ngroups = "sales"', "groups"),
        ('id = "a"\ngroups = ["a,b"]', "groups"),
        ('id = "a"\nphones = ["PJSIP/1"]', "phones"),
        ('id = "a"\nphones = { fax = ["1"] }', "phones.fax"),
        ('id = "a"\nphones = { pbx = "1" }', "phones.pbx"),
        ('id = "a"\ncalendar_opt_in = "yes"', "calendar_opt_in"),
        ('id = "a"\ngroup = ["x"]', "group"),
    ],
)
def test_a_faulty_entry_is_told_with_its_key(tmp_path: Path, entry: str, key: str) -> None:
    """One fault is one line that says where, what, and what to write."""
    (line,) = problems(tmp_path, f"[[person]]\n{entry}")
    assert line.startswith("people.toml: person 1 (")
    assert line.split("): ", 1)[1].startswith(f"{key}: ")
    assert "; " in line or "must be true or false" in line


def test_all_faults_of_all_people_come_at_once(tmp_path: Path) -> None:
    """Nobody mends one person at a time."""
    found = problems(tmp_path, '[[person]]\nid = 1\ngroups = 2\n[[person]]\nid = "b"\nname = 3\n[extra]')
    assert len(found) == 4


def test_the_same_id_in_another_case_is_the_same_person(tmp_path: Path) -> None:
    """It may be there once only."""
    (line,) = problems(tmp_path, '[[person]]\nid = "ann"\n[[person]]\nid = "ANN"')
    assert line.startswith("people.toml: person 2 (ANN): id: is there twice")


def test_a_shared_mailbox_is_a_warning(tmp_path: Path) -> None:
    """It may be meant, so it loads."""
    text = '[[person]]\nid = "a@x.org"\ncalendar = "hq"\n[[person]]\nid = "b"\ncalendar = "hq"\nmailbox = "A@x.org"'
    found = load(tmp_path, text)
    assert len(found) == 2
    assert len(found.warnings) == 1
    assert "a@x.org" in found.warnings[0]


def test_very_many_faults_are_not_all_listed(tmp_path: Path) -> None:
    """A file generated wrongly does not flood the terminal."""
    found = problems(tmp_path, "[[person]]\nid = 1\n" * 1000)
    assert len(found) == 101
    assert found[-1] == "people.toml: and 900 more; correct these first"


@pytest.mark.parametrize("text", ["person = 1", "[person]", "person = [1]", "[[people]]\nid = 'a'"])
def test_another_shape_of_file_is_told(tmp_path: Path, text: str) -> None:
    """The remedy shows the table's header."""
    assert "[[person]]" in problems(tmp_path, text)[0]


def test_twenty_thousand_people_load_fast(tmp_path: Path) -> None:
    """Building them costs no more than reading the TOML does, so the whole stays within about a second."""
    text = "".join(
        f'[[person]]\nid = "person{n:05}@example.com"\nname = "Person {n}"\ncalendar = "hq"\n'
        f'phones = {{ pbx = ["PJSIP/{n}"] }}\ngroups = ["sales", "floor-{n % 40}"]\ncalendar_opt_in = true\n'
        for n in range(20_000)
    )
    before = time.process_time()
    tomllib.loads(text)
    toml = time.process_time() - before
    before = time.process_time()
    found = load(tmp_path, text)
    whole = time.process_time() - before
    assert len(found) == 20_000
    assert len(found.group("floor-7")) == 500
    assert whole < 2.5 * toml
