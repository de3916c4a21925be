#!/usr/bin/python
"""Converge a PKI: authorities, certificates, revocations, CRLs and the trust of every scope in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki
short_description: Converge a PKI in one call
version_added: "0.1.0"
description:
  - Makes the root and the issuing CAs, issues and renews certificates, revokes, signs CRLs and generates
    the trust units of the gateways, each with a stated reason.
  - The store is a folder with a ledger (SQLite) and the files that are handed out. Certificates are issued in bulk.
  - Keys are made encrypted. The password of each key is handed in, and no secret is ever returned.
options:
  store:
    description: Folder of the store. It must lie outside any git tree that does not ignore it.
    type: path
    required: true
  name:
    description: Name of the PKI. It is part of every authority's DN, and a store of another name is refused.
    type: str
    required: true
  init:
    description: Whether a missing store may be created. A new root cuts off everyone who trusts the old one.
    type: bool
    default: false
  subject:
    description: Organisation, as it stands in every DN.
    type: dict
    default: {}
    suboptions:
      country:
        description: Two capital letters (ISO 3166).
        type: str
      state:
        description: State or province.
        type: str
      locality:
        description: Town.
        type: str
      organization:
        description: Organisation.
        type: str
      organizational_unit:
        description: Unit of the organisation.
        type: str
  root:
    description: The root CA.
    type: dict
    default: {}
    suboptions:
      key_type:
        description: Type of its key; a change takes effect when the root is rotated.
        type: str
        default: ec-p256
        choices: &key_types [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
      days:
        description: Life in days of a root made now.
        type: int
        default: 3650
      offline:
        description:
          - Whether its key is kept offline, on a medium that is there for a ceremony only (O(root_keys)).
          - A run fails without the key only where something needs it; RV(root_keys_needed) says what does, by when.
        type: bool
        default: false
      crl_days:
        description: Validity of its CRL in days; default 365 where it is offline, else that of O(crl).
        type: int
  root_keys:
    description:
      - Folder on a medium with the keys of roots that are offline, C(<pki>-<label>.key). They are used where they lie.
      - A key of theirs that is still in the store is moved there, read back and opened, and only then removed.
    type: path
  issuing:
    description: The issuing CAs under the root.
    type: list
    elements: dict
    default:
      - name: issuing
    suboptions:
      name:
        description: Name, of C(a-z 0-9 -).
        type: str
        required: true
      purposes:
        description: What it signs. A certificate goes to the first issuing CA with its purpose.
        type: list
        elements: str
        choices: [server, client]
        default: [server, client]
      key_type:
        description: Type of its key; a change takes effect when it is rotated.
        type: str
        default: ec-p256
        choices: *key_types
      days:
        description: Life in days of an issuing CA made now; never beyond the root's.
        type: int
        default: 1095
      name_constraints:
        description:
          - The names it may sign for (RFC 5280 section 4.2.1.10), critical in its certificate. A leaf with another name
            is refused before anything is changed.
          - A change takes effect when it is rotated.
        type: dict
        suboptions:
          permitted:
            description: Of each kind named here, a name must be within one of the entries.
            type: dict
            suboptions: &subtrees
              dns:
                description: DNS names; each stands for itself and everything below.
                type: list
                elements: str
              ip:
                description: Networks, C(10.0.0.0/8).
                type: list
                elements: str
              uri:
                description:
                  - Hosts of URIs; with a leading dot everything below.
                  - OpenSSL then refuses every URI without a host by name, and so the default SAN of clients (C(urn:)).
                type: list
                elements: str
              email:
                description: Mailboxes, mail hosts, or with a leading dot all hosts below.
                type: list
                elements: str
              subject:
                description: Fields that subjects begin with, in the order of O(subject); without a common name.
                type: list
                elements: dict
          excluded:
            description: No name may be within one of the entries.
            type: dict
            suboptions: *subtrees
  adopt:
    description:
      - A self-signed CA that was made by other means, to be the first generation of an authority that has none yet.
      - What is weak about it is told by warnings. Once it is adopted, its files are no longer needed.
    type: dict
    suboptions:
      name:
        description:
          - The issuing CA that it becomes, one of O(issuing); its clients go on getting in.
          - C(root) makes it the root above the issuing CAs; what it has signed itself is then let in nowhere.
        type: str
        default: issuing
      certificate:
        description: Its certificate in PEM, required.
        type: path
      key:
        description: Its key in PEM, required. It is kept in the store under the password of its path in O(passwords).
        type: path
      certificates_folder:
        description:
          - Folder of client certificates that it has signed, C(*.crt), C(*.pem), C(*.cer). They are entered under their
            common name, or where that is no client's name under the file's, and stay as they are until they are due.
        type: path
  adopt_password:
    description: The password that the key to adopt has had so far; empty where it has none.
    type: str
    default: ""
  leaf:
    description: What holds for every certificate that doesn't say otherwise.
    type: dict
    default: {}
    suboptions:
      key_type:
        description: Type of its key.
        type: str
        default: ec-p256
        choices: *key_types
      days:
        description: Life in days; never beyond the issuing CA's.
        type: int
        default: 90
      renew_days:
        description: It is renewed when this many days or fewer are left.
        type: int
        default: 30
      renew_jitter_days:
        description:
          - Up to so many days earlier, each certificate at its own moment, so that what was issued in one night is not
            renewed in one. Drawn from PKI, name and serial, so every run comes to the same.
          - At most a third of the life before the window.
        type: int
        default: 10
  profiles:
    description:
      - Profiles of one's own, beside C(server), C(client) and C(both).
      - A certificate whose profile was changed in its usages gets a new one. Nothing is signed that breaks its profile.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, of C(a-z 0-9 -).
        type: str
        required: true
      extended_key_usage:
        description:
          - C(serverAuth), C(clientAuth), C(emailProtection), C(codeSigning), C(ipsecIKE), C(documentSigning),
            C(smartcardLogon), or an OID in dotted form.
          - An issuing CA made now bears the usages of the profiles it signs for; one that was made without can't sign.
        type: list
        elements: str
        required: true
      key_usage:
        description: Of it each key gets what its type can do.
        type: list
        elements: str
        choices: [digitalSignature, contentCommitment, keyEncipherment, dataEncipherment, keyAgreement]
        default: [digitalSignature]
      san:
        description: What its certificates may and must be named by.
        type: dict
        default: {}
        suboptions:
          allowed:
            description: Kinds of SAN that it may have.
            type: list
            elements: str
            choices: [dns, ip, uri, email]
            default: [dns, ip, uri, email]
          required:
            description: Kinds of which it must have one at least.
            type: list
            elements: str
            choices: [dns, ip, uri, email]
            default: []
          spiffe_trust_domain:
            description: It must have one URI and that be a SPIFFE ID of this trust domain.
            type: str
      subject:
        description: Its subject.
        type: dict
        default: {}
        suboptions:
          required:
            description: Fields that it must have, those of O(subject) and C(common_name).
            type: list
            elements: str
            default: []
          defaults:
            description: Fields of a certificate that doesn't say otherwise, before those of O(subject).
            type: dict
            default: {}
      key_types:
        description: Types of key that it may have; all that can do its key usage by default.
        type: list
        elements: str
        choices: *key_types
      days:
        description: Life in days of a certificate that doesn't say otherwise; default that of O(leaf).
        type: int
      renew_days:
        description: Renewal window in days of a certificate that doesn't say otherwise; default that of O(leaf).
        type: int
      csr:
        description:
          - What of a request is honoured for a certificate that doesn't say otherwise, as in O(certificates). It holds
            for requests in O(csr_folder); of those that a gateway makes the key alone is taken.
        type: dict
        default: {}
        suboptions:
          honour:
            description: Names that are taken from the request.
            type: list
            elements: str
            choices: [san, common_name]
            default: []
          permitted:
            description: Limits of what is honoured. A kind of name that is not here is not allowed.
            type: dict
            default: {}
  certificates:
    description:
      - The whole desired list. Each entry is checked by the PKI itself, so that ten thousand of them cost little.
      - "Keys of an entry: C(name) (C(client/<client>) or C(server/<gateway>/<site>), required), C(profile) (C(server),
        C(client), C(both) or one of O(profiles); default as the name begins), C(san) (dict of the lists C(dns), C(ip),
        C(uri), C(email); default for clients C(urn:mtls:<pki>:<client>)), C(subject) (dict: C(common_name) and the
        fields of O(subject)), C(groups) (list), C(key_type), C(days), C(renew_days), C(issuer) (name of an issuing CA)
        and C(source) (C(key): the CA makes the key, the default; C(csr): the key is made elsewhere)."
      - "Of a request in O(csr_folder) the public key is taken, and with C(csr) of the entry more: C(honour) (C(san),
        C(common_name)) within C(permitted) (C(dns), C(ip), C(uri), C(email) as in name constraints; C(common_name)
        globs)."
    type: list
    elements: dict
    default: []
  csrs:
    description:
      - Requests in PEM by certificate name. Of a request its public key is taken, once it proves that its maker
        holds the key; subject, SAN and everything else come from O(certificates).
    type: dict
    default: {}
  csr_folder:
    description:
      - Folder of requests that others bring, as C(<client>.csr) or C(client/<client>.csr), for clients with
        C(source=csr).
      - Each is looked at on its own. One that can't be signed is named in RV(csr_refused) and in a warning, and stops
        nothing else.
    type: path
  passwords:
    description:
      - "JSON object of passwords by path: C(ca/root), C(ca/<issuing CA>) and the name of each certificate whose
        key is made here. Those that this run needs must be there."
      - Under C(previous/<path>) may be the password that the key still has, during a rotation. Such a key is encrypted
        again with its present password.
      - In check mode without any, no key is opened; what is wished for and the store are checked all the same.
    type: str
    default: "{}"
  backend:
    description:
      - Where the keys of CAs are made; C(local) in the store, C(openbao) in the PKI engine of OpenBao, which they never
        leave.
      - The ones there are stay where they are. They are replaced by a rotation.
    type: str
    choices: [local, openbao]
    default: local
  openbao:
    description:
      - How to reach OpenBao, where keys of CAs are there. A task gives it C(pki_openbao) (docs/pki-openbao.md), and the
        action logs in on the controller and hands the module a session instead, which ends with the task.
      - Of type C(str), so that Ansible never quotes what it can't convert.
    type: str
  crl:
    description: Validity of the CRLs, which every CA of a chain has.
    type: dict
    default: {}
    suboptions:
      days:
        description: Validity in days.
        type: int
        default: 7
      refresh_hours:
        description: A CRL of this age is signed again.
        type: int
        default: 24
  trust:
    description: Scopes for which a trust unit is generated. Its number grows whenever its content changes.
    type: list
    elements: dict
    default: []
    suboptions:
      scope:
        description: Name of the scope.
        type: str
        required: true
      accept:
        description: Names of the issuing CAs whose clients it accepts.
        type: list
        elements: str
        required: true
  revoke:
    description:
      - What is to be revoked, each by one of C(name), C(serial) and C(certificate).
      - A name stays without a valid certificate for as long as it is listed here; afterwards it gets a new one
        if it is in O(certificates).
      - An issuing CA is revoked by its label, C(ca/issuing-g1), and gets a successor at once. Both need the root's key.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Every valid certificate of this name.
        type: str
      serial:
        description: Serial in hexadecimal digits.
        type: str
      certificate:
        description: Certificate in PEM; the ledger need not know it, this PKI must have signed it.
        type: str
      reason:
        description: Reason of RFC 5280.
        type: str
        default: unspecified
        choices: [unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn]
  removed:
    description: Whether valid certificates that are no longer in O(certificates) are reported or revoked.
    type: str
    choices: [report, revoke]
    default: report
  rotation:
    description:
      - "What is to be done about the planned replacement of CA keys. It goes through the phases C(introduce) (the new
        generation is trusted, the old one signs), C(switch) (the new one signs, both are trusted) and ends C(retired);
        each run goes one phase on where nothing holds it. RV(rotation) says where it stands and what it waits for."
      - Of a CA that has ended the successor signs at once, without phases.
      - Without it a rotation that has begun stays in its phase, and everything else goes on.
    type: dict
    suboptions:
      kind:
        description:
          - What is replaced. C(root) replaces every issuing CA with it.
          - The same wish starts no other rotation for 90 days after one ended, so that it may stand in a daily job.
        type: str
        choices: [none, issuing, root]
        default: none
      names:
        description: With C(issuing), the issuing CAs to replace; default all of them.
        type: list
        elements: str
        default: []
      step:
        description:
          - C(auto) goes on where nothing holds it, C(hold) stays, C(back) goes back one phase.
        type: str
        choices: [auto, hold, back]
        default: auto
      overlap_days:
        description:
          - Days that clients have to take what was made for them. A new root signs no sooner after its anchor was in
            every bundle, and an old CA is retired no sooner after the last bundle got a certificate of the new one, or
            when the old certificate has ended. M(mtls.kit.client_bundle) records what is in the bundles.
        type: int
        default: 30
      confirmed:
        description:
          - Whether every client is known to have taken it, so that O(rotation.overlap_days) need not pass and no bundle
            is waited for.
        type: bool
        default: false
      again:
        description: Whether a new rotation may start sooner than 90 days after the last one ended.
        type: bool
        default: false
      cross_sign:
        description:
          - Whether the old root signs the new one, and servers send that certificate until the old one is retired.
            Clients that know the old root only then verify the servers all the same.
        type: bool
        default: false
      remove_keys:
        description:
          - Whether keys of CAs that are retired or withdrawn are removed from the store, once no CRL is signed with
            them. Default is to keep them.
        type: bool
        default: false
      servers:
        description: When certificates of servers get one of the new CA; C(now), or C(window) as they are renewed.
        type: str
        choices: [now, window]
        default: now
      clients:
        description: The same for clients, to each of whom somebody has to hand it.
        type: str
        choices: [now, window]
        default: window
      without:
        description: Gateways that are given up, and hold nothing.
        type: list
        elements: str
        default: []
      observed:
        description: "What each site was seen to serve: C(gateway), C(site), C(scope), C(trust) (number) and C(serial)."
        type: list
        elements: dict
        default: []
      presented:
        description:
          - "Certificates that clients presented: C(gateway), C(issuer), C(serial) and C(last_seen). They hold nothing;
            RV(rotation) tells who of them would be cut off."
        type: list
        elements: dict
        default: []
  reissue:
    description: Certificates to be replaced on demand, each with a new key.
    type: dict
    suboptions:
      names:
        description: Globs on names (C(client/alice), C(gw1/*)); the kind may be left out.
        type: list
        elements: str
        required: true
      before:
        description: Only what was made before this moment (ISO 8601), so that a second run changes nothing.
        type: str
        required: true
attributes:
  check_mode:
    description: Names the same changes with the same reasons and changes nothing.
    support: full
  diff_mode:
    description: Shows the changes and their reasons.
    support: full
requirements:
  - python >= 3.11
  - cryptography >= 38
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure the PKI
  mtls.kit.pki:
    store: /var/lib/mtls-kit/example
    name: example
    subject:
      organization: Example Ltd
    certificates:
      - name: client/alice
        groups: [buyers]
      - name: server/gw1/orders
        san:
          dns: [orders.example.com]
        source: csr
    csrs: "{{ requests }}"
    trust:
      - scope: issuing
        accept: [issuing]
    passwords: "{{ key_password_json }}"
  no_log: true
  register: pki_result

- name: Ensure that Mallory is out
  mtls.kit.pki:
    store: /var/lib/mtls-kit/example
    name: example
    revoke:
      - name: client/mallory
        reason: keyCompromise
    passwords: "{{ key_password_json }}"
"""

RETURN = r"""
changes:
  description: Every change with its reason.
  returned: always
  type: list
  elements: dict
  sample: [{"name": "client/alice", "action": "renew", "reason": "renew: 29 of 90 days left"}]
csr_wanted:
  description: Certificates that are due and wait for a CSR, with the reason.
  returned: always
  type: dict
  sample: {"server/gw1/orders": "issue: new"}
csr_subjects:
  description: The subject of each certificate of a gateway, as fields, for the request to name.
  returned: always
  type: dict
  sample: {"server/gw1/orders": {"common_name": "orders.example.com", "organization": "Example Ltd"}}
csr_refused:
  description: "Requests in O(csr_folder) that were not signed: C(file) and C(reason)."
  returned: always
  type: list
  elements: dict
servers:
  description: "The certificate of each C(server/) name: C(serial), C(chain) (PEM, leaf first, without the root),
    C(not_after), C(public_key_sha256)."
  returned: always
  type: dict
trust:
  description: "The trust unit of each scope: C(number), C(sha256) and C(files) (text by name)."
  returned: always
  type: dict
delivered:
  description: What M(mtls.kit.pki_delivered) has recorded, as it takes it.
  returned: always
  type: list
  elements: dict
trust_anchor:
  description: The roots in use, in PEM.
  returned: always
  type: str
authorities:
  description: Every authority with number, name, label, subject, issuer, serial, key type, end of validity and CRL.
  returned: always
  type: list
  elements: dict
taken:
  description: Paths with a previous password whose keys in this store have the present one.
  returned: always
  type: list
  elements: str
removed:
  description: Valid certificates that are no longer desired, and whether this run revoked them.
  returned: always
  type: list
  elements: dict
root_keys_needed:
  description: "What the key of an offline root is needed for next: C(label), C(reason) and C(by), the day to bring it."
  returned: always
  type: list
  elements: dict
  sample: [{"label": "root-g1", "reason": "its CRL ends 2027-11-24", "by": "2027-10-25T12:00:00Z"}]
rotation:
  description: "Where the rotation stands after this run: C(kind), C(names), C(phase), C(waits) (what holds the next
    step), C(note) (all of it in a sentence), C(cut_off) (of the clients in O(rotation.presented) those whose
    certificate is of a CA that goes: C(gateway), C(name), C(serial), C(issuer), C(last_seen) and C(replaced), when it
    got another one) and C(distrusting) (sites that are known to serve a trust unit without the new CA)."
  returned: always
  type: dict
  sample: {"kind": "issuing", "names": ["issuing"], "phase": "introduce", "waits": ["gw2/orders: what it serves is not
    known"], "note": "rotation of issuing is in phase introduce since 2026-11-24", "cut_off": [], "distrusting": []}
warnings:
  description: What needs somebody's attention soon.
  returned: when there are any
  type: list
  elements: str
store:
  description: Folder of the store.
  returned: always
  type: str
now:
  description: The CA host's clock, ISO 8601.
  returned: always
  type: str
"""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import (
        clock,
        converge,
        csr_folder,
        desired,
        store,
        vault_client,
    )
    from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

_KEY_TYPES = ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]

_KEY_USAGES = ["digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement"]

_SAN_KINDS = ["dns", "ip", "uri", "email"]

_REVOCATION_REASONS = [
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
]


def _key_type() -> dict[str, Any]:
    return {"type": "str", "default": "ec-p256", "choices": _KEY_TYPES}


def _dict(**options: Any) -> dict[str, Any]:
    return {"type": "dict", "default": {}, "apply_defaults": True, "options": options}


def _list(**options: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


def _text(**more: Any) -> dict[str, Any]:
    return {"type": "str", **more}


def _texts(**more: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "str", **more}


def _number(default: int) -> dict[str, Any]:
    return {"type": "int", "default": default}


def _subtrees() -> dict[str, Any]:
    kinds: dict[str, Any] = {kind: {"type": "list", "elements": "str"} for kind in ("dns", "ip", "uri", "email")}
    return {"type": "dict", "options": {**kinds, "subject": {"type": "list", "elements": "dict"}}}


ARGUMENTS: dict[str, Any] = {
    "store": {"type": "path", "required": True},
    "name": _text(required=True),
    "init": {"type": "bool", "default": False},
    "subject": {
        "type": "dict",
        "default": {},
        "options": {
            field: _text() for field in ("country", "state", "locality", "organization", "organizational_unit")
        },
    },
    "root": _dict(
        key_type=_key_type(),
        days=_number(3650),
        offline={"type": "bool", "default": False},
        crl_days={"type": "int"},
    ),
    "root_keys": {"type": "path"},
    "issuing": {
        **_list(
            name=_text(required=True),
            purposes={
                "type": "list",
                "elements": "str",
                "choices": ["server", "client"],
                "default": ["server", "client"],
            },
            key_type=_key_type(),
            days=_number(1095),
            name_constraints={"type": "dict", "options": {"permitted": _subtrees(), "excluded": _subtrees()}},
        ),
        "default": [{"name": "issuing"}],
    },
    "adopt": {
        "type": "dict",
        "options": {
            "name": _text(default="issuing"),
            "certificate": {"type": "path"},
            "key": {"type": "path"},
            "certificates_folder": {"type": "path"},
        },
    },
    "adopt_password": {"type": "str", "default": "", "no_log": True},
    "leaf": _dict(key_type=_key_type(), days=_number(90), renew_days=_number(30), renew_jitter_days=_number(10)),
    "profiles": _list(
        name=_text(required=True),
        extended_key_usage=_texts(required=True),
        key_usage=_texts(choices=_KEY_USAGES, default=["digitalSignature"]),
        san=_dict(
            allowed=_texts(choices=_SAN_KINDS, default=_SAN_KINDS),
            required=_texts(choices=_SAN_KINDS, default=[]),
            spiffe_trust_domain=_text(),
        ),
        subject=_dict(required=_texts(default=[]), defaults={"type": "dict", "default": {}}),
        key_types=_texts(choices=_KEY_TYPES),
        days={"type": "int"},
        renew_days={"type": "int"},
        csr=_dict(honour=_texts(choices=["san", "common_name"], default=[]), permitted={"type": "dict", "default": {}}),
    ),
    "certificates": {"type": "list", "elements": "dict", "default": []},
    "csrs": {"type": "dict", "default": {}},
    "csr_folder": {"type": "path"},
    "passwords": {"type": "str", "default": "{}", "no_log": True},
    "backend": _text(default="local", choices=["local", "openbao"]),
    "openbao": {"type": "str", "no_log": True},
    "crl": _dict(days=_number(7), refresh_hours=_number(24)),
    "trust": _list(scope=_text(required=True), accept={"type": "list", "elements": "str", "required": True}),
    "revoke": _list(
        name=_text(),
        serial=_text(),
        certificate=_text(),
        reason=_text(default="unspecified", choices=_REVOCATION_REASONS),
    ),
    "removed": _text(default="report", choices=["report", "revoke"]),
    "rotation": {
        "type": "dict",
        "options": {
            "kind": _text(default="none", choices=["none", "issuing", "root"]),
            "names": {"type": "list", "elements": "str", "default": []},
            "step": _text(default="auto", choices=["auto", "hold", "back"]),
            "overlap_days": _number(30),
            **{flag: {"type": "bool", "default": False} for flag in ("confirmed", "again", "cross_sign")},
            # no_log: its name is what makes Ansible take it for a secret.
            "remove_keys": {"type": "bool", "default": False, "no_log": False},
            "servers": _text(default="now", choices=["now", "window"]),
            "clients": _text(default="window", choices=["now", "window"]),
            "without": {"type": "list", "elements": "str", "default": []},
            "observed": {"type": "list", "elements": "dict", "default": []},
            "presented": {"type": "list", "elements": "dict", "default": []},
        },
    },
    "reissue": {
        "type": "dict",
        "options": {
            "names": {"type": "list", "elements": "str", "required": True},
            "before": _text(required=True),
        },
    },
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    now = datetime.now(UTC)
    try:
        wanted = desired.read(parameters)
        passwords = passwords_from(parameters["passwords"])
        folder = Path(parameters["store"])
        folder_of_requests = Path(parameters["csr_folder"]) if parameters["csr_folder"] else None
        with store.opened(folder, wanted.name, now, init=parameters["init"], dry=module.check_mode) as opened:
            brought = csr_folder.resolve(wanted, folder_of_requests, opened.ledger, now)
            csrs = {**parameters["csrs"], **brought.csrs}
            result = converge.converge(
                opened,
                brought.desired,
                csrs,
                passwords,
                now,
                dry=module.check_mode,
                adopt_password=parameters["adopt_password"],
                session=vault_client.Session.parsed(parameters["openbao"] or ""),
            )
    except KitError as error:
        module.fail_json(msg=str(error))
    output = asdict(result)
    for warning in (*output.pop("warnings"), *brought.warnings):
        module.warn(warning)
    lines = "".join(f"{change.name}: {change.action} ({change.reason})\n" for change in result.changes)
    module.exit_json(
        changed=bool(result.changes),
        diff={"before": "", "after": lines},
        store=str(folder),
        now=clock.iso(now),
        csr_refused=brought.refused,
        **output,
    )


if __name__ == "__main__":
    main()
