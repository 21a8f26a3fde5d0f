"""The administrator's kubeconfig of an instance."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from podhost.daemon.pki import Pki


def build_kubeconfig(pki: Pki, *, instance: str, server: str) -> str:
    """A kubeconfig with everything inline, so that it can be copied; JSON, which is YAML too."""

    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    name = "podhost" if instance == "default" else f"podhost-{instance}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": inline(pki.ca.certificate)},
            }
        ],
        "users": [
            {
                "name": f"{name}-admin",
                "user": {
                    "client-certificate-data": inline(pki.admin.certificate),
                    "client-key-data": inline(pki.admin.key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin", "namespace": "default"}}],
    }
    return json.dumps(config, indent=2) + "\n"
