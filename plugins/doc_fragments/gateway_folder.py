"""Options of the modules that work on the certificates' folder of a gateway."""

from __future__ import annotations


class ModuleDocFragment:
    """What certificate_request and certificate_release have in common."""

    DOCUMENTATION = r"""
options:
  root:
    description: Folder on the gateway that holds a folder for each site; made when it is missing.
    type: str
    default: /etc/mtls
  owner:
    description:
      - User that the files belong to, the one that Nginx's master process runs as.
      - When the module does not run as root, it must be the user it runs as.
    type: str
    default: root
  group:
    description: Group of the files. Empty stands for the owner's own group.
    type: str
    default: ""
  passwords:
    description:
      - JSON object with the password of each site's private key, by site.
      - One JSON string instead of a dictionary, for Ansible's masking of many single secrets takes quadratic time.
    type: str
    required: true
requirements:
  - python3-cryptography 38.0.4 or newer on the gateway
attributes:
  check_mode:
    description: Returns the changes it would make, with the same reasons, and makes none.
    support: full
"""
