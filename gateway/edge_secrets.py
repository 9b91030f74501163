"""Where Envoy finds its certificates: files beside its configuration that name the operator's own.

Keys are not copied, only named. Envoy looks into the folders of the named files and reads these again when something is
moved there under any name, which is how `mv` and Kubernetes replace files. What is replaced in other ways (`cp`, the
links of certbot) Envoy sees when these files here name it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from server.settings import Tls

CERTIFICATE, CLIENT_CA = "certificate", "client_ca"

_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type

_ROOTS = ("", "/.")
"""Two ways to write one path: only what is written otherwise than before is read by Envoy once more."""


def write(tls: Tls, folder: Path, turn: int = 0) -> Mapping[str, str]:
    """Write the files, or nothing where there is no certificate.

    Args:
        tls: the settings.
        folder: where the files go.
        turn: how often they were written before for this Envoy.

    Returns:
        Their paths by the names of what they hold, `CERTIFICATE` and `CLIENT_CA`.
    """
    root = _ROOTS[turn % len(_ROOTS)]
    written = {}
    if tls.certificate is not None and tls.key is not None:
        written[CERTIFICATE] = {
            "tls_certificate": {
                "certificate_chain": {"filename": f"{root}{tls.certificate}"},
                "private_key": {"filename": f"{root}{tls.key}"},
                "watched_directory": {"path": str(tls.certificate.parent)},
            }
        }
    if tls.client_ca is not None:
        written[CLIENT_CA] = {
            "validation_context": {
                "trusted_ca": {"filename": f"{root}{tls.client_ca}"},
                "watched_directory": {"path": str(tls.client_ca.parent)},
            }
        }
    return {name: _placed(folder, name, secret) for name, secret in written.items()}


def _placed(folder: Path, name: str, secret: Mapping[str, object]) -> str:
    path, new = folder / f"{name}.json", folder / f"{name}.json.new"
    new.write_text(json.dumps({"resources": [{"@type": _SECRET, "name": name, **secret}]}), encoding="utf-8")
    new.replace(path)  # Envoy looks out for moves alone
    return str(path.resolve())
