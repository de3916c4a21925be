"""Documentation of the action plugin of this name; it runs on the controller and never reaches a target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_status
short_description: Show what M(mtls.kit.pki_info) found as tables, as a page or as JSON
version_added: "0.1.0"
description:
  - "Prints tables: what is wrong or due first, then authorities, CRLs, trust units and certificates."
  - On a terminal they are as wide as it is and coloured; elsewhere they are plain text of 100 columns.
  - Runs on the controller, without a connection to the host.
author:
  - mTLS Kit (@mtls-kit)
options:
  report:
    description: The result of M(mtls.kit.pki_info).
    type: dict
    required: true
  public:
    description:
      - The result of M(mtls.kit.public_certificate), whose certificates and attention become part of the report.
      - Empty for none.
    type: dict
    default: {}
  limit:
    description: How many certificates the table shows; the rest is counted.
    type: int
    default: 40
  json:
    description:
      - File on the controller that gets the whole report as JSON, mode 0600, complete or not at all.
      - Empty for none.
    type: str
    default: ""
  page:
    description:
      - File on the controller that gets the report as one HTML page, mode 0600, complete or not at all.
      - The page needs no other file, no network and no script.
      - It shows the 500 most urgent certificates, and counts all.
      - Empty for none.
    type: str
    default: ""
extends_documentation_fragment:
  - mtls.kit.attributes.controller
attributes:
  check_mode:
    description: Prints the same and writes no file.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
requirements:
  - rich and jinja2, on the controller
"""

EXAMPLES = r"""
- name: Ensure the state of the PKI is shown
  mtls.kit.pki_status:
    report: "{{ pki_info_result }}"
    json: /srv/monitoring/pki.json
    page: /srv/monitoring/pki.html
"""

RETURN = r"""
json:
  description: The file for machines.
  returned: when one was asked for
  type: str
page:
  description: The page.
  returned: when one was asked for
  type: str
"""
