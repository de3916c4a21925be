"""Clients from a table, as spreadsheets and directories give it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOCUMENTATION = r"""
name: clients_from_csv
short_description: Clients from a table, for pki_clients
version_added: "0.1.0"
description:
  - Reads CSV with a line of column names, and returns entries of C(pki_clients).
  - "The column C(name) is required. Others: C(groups), C(platforms), C(dns), C(ip), C(uri), C(email) (several words,
    separated by blanks), C(common_name), C(organization), C(organizational_unit), C(key_type), C(profile), C(issuer),
    C(source), C(days) and C(renew_days). An empty field is as if its column was not there."
  - Fields are separated by commas, semicolons or tabulators, whichever the line of names has.
options:
  _input:
    description: The text of the table.
    type: str
    required: true
"""

EXAMPLES = r"""
# group_vars/all.yml, with clients.csv beside the inventory
pki_clients: "{{ lookup('ansible.builtin.file', inventory_dir ~ '/clients.csv') | mtls.kit.clients_from_csv }}"
"""

RETURN = r"""
_value:
  description: The clients, in the order of the table.
  type: list
  elements: dict
"""

SANS = ("dns", "ip", "uri", "email")
SUBJECT = ("common_name", "organization", "organizational_unit")
LISTS = ("groups", "platforms")
NUMBERS = ("days", "renew_days")
TEXTS = ("name", "key_type", "profile", "issuer", "source")
COLUMNS = (*TEXTS, *LISTS, *SANS, *SUBJECT, *NUMBERS)


def clients_from_csv(text: str) -> list[dict[str, Any]]:
    """The clients in a table; AnsibleFilterError with the line for what can't be read."""
    try:
        return list(_clients(text))
    except KitError as error:
        raise AnsibleFilterError(str(error)) from None


def _clients(text: str) -> Iterator[dict[str, Any]]:
    # Spreadsheets put a byte order mark before the first name.
    table = text.removeprefix("\ufeff")
    head = table.partition("\n")[0]
    rows = csv.reader(io.StringIO(table), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        columns = [name.strip() for name in next(rows, [])]
        _check_columns(columns)
        for row in rows:
            fields = [field.strip() for field in row]
            if any(fields):
                yield _client(columns, fields, rows.line_num)
    except csv.Error as error:
        raise KitError(
            f"clients' table, line {rows.line_num}", str(error), "CSV as spreadsheets write it", "correct that line"
        ) from None


def _check_columns(columns: list[str]) -> None:
    unknown = [name for name in columns if name not in COLUMNS]
    if "name" not in columns or unknown or len(set(columns)) < len(columns):
        raise KitError(
            "clients' table, line 1",
            f"the columns {', '.join(map(repr, columns)) or 'none'}",
            f"name and others of {', '.join(COLUMNS)}, each once",
            "correct the line of column names",
        )


def _client(columns: list[str], fields: list[str], line: int) -> dict[str, Any]:
    if len(fields) != len(columns):
        raise KitError(
            f"clients' table, line {line}",
            f"{len(fields)} fields",
            f"{len(columns)}, one for each column",
            "correct that line; quote a field that has the separator in it",
        )
    found = {name: field for name, field in zip(columns, fields, strict=True) if field}
    if "name" not in found:
        raise KitError(f"clients' table, line {line}", "no name", "a name in each line", "add it, or remove the line")
    client: dict[str, Any] = {name: found[name] for name in TEXTS if name in found}
    client |= {name: found[name].split() for name in LISTS if name in found}
    client |= {name: _number(found[name], name, line) for name in NUMBERS if name in found}
    if san := {name: found[name].split() for name in SANS if name in found}:
        client["san"] = san
    if subject := {name: found[name] for name in SUBJECT if name in found}:
        client["subject"] = subject
    return client


def _number(field: str, name: str, line: int) -> int:
    if not (field.isascii() and field.isdigit()):
        raise KitError(f"clients' table, line {line}", f"{name}={field!r}", "a whole number", "correct that field")
    return int(field)


class FilterModule:
    """The filter that reads clients from a table."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"clients_from_csv": clients_from_csv}
