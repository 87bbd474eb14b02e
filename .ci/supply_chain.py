"""``python .ci/supply_chain.py audit | licences | sbom WHEEL FILE``: what bispik is made with, from the lock.

``audit`` asks PyPI for known vulnerabilities of the locked versions; where nobody answers it says so, and that it is
skipped, in capitals. ``licences`` compares what the installed packages declare with what may stand beside Apache-2.0.
``sbom`` writes what an installation of the wheel needs as CycloneDX 1.6; the same wheel gives the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = (Path("requirements/runtime.txt"), Path("requirements/torch.txt"))
PERMITTED = re.compile(r"apache|\bmit\b|bsd|isc|psf|bsl|mpl|mozilla|lgpl|lesser general|llvm", re.IGNORECASE)
"""Licences that ask nothing of what merely uses a package. MPL and LGPL cover their own files, which stay as is."""

REVIEWED = {
    "lava-nc": "BSD-3-Clause, LGPL-2.1-or-later in parts; 'Other/Proprietary' is a classifier without a text",
}
"""Packages whose declaration says more than is so, with what their files say."""


def main() -> int:
    match sys.argv[1:]:
        case ["audit"]:
            return audit()
        case ["licences"]:
            return licences()
        case ["sbom", wheel, file]:
            return sbom(Path(wheel), Path(file))
        case _:
            sys.exit(__doc__)


def locked() -> dict[str, str]:
    """Version by name, of what this Python on this machine needs to run bispik."""
    lines = [line.rstrip(" \\") for lock in LOCKS for line in lock.read_text(encoding="utf-8").splitlines()]
    found = [Requirement(line) for line in lines if re.match(r"[A-Za-z0-9]", line)]
    return {
        canonicalize_name(entry.name): next(iter(entry.specifier)).version
        for entry in found
        if entry.marker is None or entry.marker.evaluate()
    }


def audit() -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as names:
        names.write("".join(f"{name}=={version}\n" for name, version in locked().items()))
        names.flush()
        options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json", "-r", names.name]
        command = [sys.executable, "-m", "pip_audit", *options]
        try:
            ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
            report = json.loads(ended.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            print("AUDIT SKIPPED: pip-audit got no answer about vulnerabilities; run `make audit` with a network")
            return 0
    asked = [entry for entry in report["dependencies"] if "vulns" in entry]
    unknown = [entry["name"] for entry in report["dependencies"] if "vulns" not in entry]
    vulnerable = [entry for entry in asked if entry["vulns"]]
    if not asked:
        print(f"AUDIT SKIPPED: no index here knows of vulnerabilities ({len(unknown)} packages asked for)")
        return 0
    for entry in vulnerable:
        names = ", ".join(found["id"] for found in entry["vulns"])
        print(f"{entry['name']} {entry['version']}: {names}")
    print(f"audit: {len(asked)} packages, {len(vulnerable)} with known vulnerabilities")
    if unknown:
        print(f"AUDIT SKIPPED for {', '.join(unknown)}: no answer")
    return 1 if vulnerable else 0


def declared(name: str) -> str:
    """What a package says of its licence: an expression, classifiers, or the first line of a text."""
    metadata = importlib.metadata.metadata(name)
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier") or []
    named = [str(entry).split("::")[-1].strip() for entry in classifiers if str(entry).startswith("License ::")]
    return " AND ".join(named) or str(metadata.get("License") or "").split("\n")[0]


def licences() -> int:
    wrong = []
    for name in locked():
        found = declared(name)
        parts = re.split(r"\s+(?:AND|OR|WITH)\s+", found)
        if name not in REVIEWED and not all(PERMITTED.search(part) for part in parts):
            wrong.append(f"{name}: {found or 'declares no licence'}")
    print("\n".join([*wrong, f"licences: {len(locked())} packages, {len(wrong)} to look at"]))
    return 1 if wrong else 0


def sbom(wheel: Path, file: Path) -> int:
    name, version, *_ = wheel.name.split("-")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    root = {
        "type": "application",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    components = [component(package, release) for package, release in sorted(locked().items())]
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": [entry["bom-ref"] for entry in components]}],
    }
    file.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
    print(f"{file}: {len(components)} packages")
    return 0


def component(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    licence = REVIEWED.get(name) or declared(name)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"name": licence}}],
    }


if __name__ == "__main__":
    sys.exit(main())
