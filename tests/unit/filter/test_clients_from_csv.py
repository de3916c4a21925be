"""Clients from a table: what spreadsheets write, and errors that name the line."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.mtls.kit.plugins.filter.clients_from_csv import FilterModule

clients_from_csv = FilterModule().filters()["clients_from_csv"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_column_finds_its_place(separator: str, mark: str, end: str) -> None:
    table = [
        ["name", "groups", "platforms", "days", "dns", "common_name"],
        ["alice", "buyers admins", "java", "30", "a.example.com", '"Müller' + separator + ' ""Al""ice"'],
        ["", "", "", "", "", ""],
        [" bob ", "", "", "", "", ""],
    ]
    text = mark + "".join(separator.join(row) + end for row in table)
    assert clients_from_csv(text) == [
        {
            "name": "alice", "groups": ["buyers", "admins"], "platforms": ["java"], "days": 30,
            "san": {"dns": ["a.example.com"]}, "subject": {"common_name": f'Müller{separator} "Al"ice'},
        },
        {"name": "bob"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: found the columns none"),
        ("nmae,groups\nalice,\n", "line 1: found the columns 'nmae', 'groups'"),
        ("name,name\n", "line 1"),
        ("name,password\nalice,secret\n", "line 1"),
        ("name,groups\nalice,buyers\nbob\n", "line 3: found 1 fields"),
        ("name,days\nalice,soon\n", "line 2: found days='soon'"),
        ("name,days\n,30\n", "line 2: found no name"),
        ('name,groups\n"alice,buyers\n', "line 2"),
    ],
)
def test_what_can_not_be_read_is_named_by_its_line(text: str, told: str) -> None:
    with pytest.raises(AnsibleFilterError, match=told):
        clients_from_csv(text)


def test_hundreds_are_read_as_one() -> None:
    text = "name;groups\n" + "".join(f"app-{number};fleet\n" for number in range(5_000))
    clients = clients_from_csv(text)
    assert len(clients) == 5_000
    assert clients[-1] == {"name": "app-4999", "groups": ["fleet"]}
