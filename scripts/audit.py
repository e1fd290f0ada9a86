"""Known vulnerabilities of what is installed: pip-audit, where its data can be reached.

    .venv/bin/python scripts/audit.py      exit 1 and a list, if there are any

Without the data (no network, or an index that has none) it says so and exits 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def main() -> int:
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--format", "json", "--skip-editable"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"audit: skipped, the vulnerability data cannot be reached: {reason[:200]}")
        return 0
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print(f"audit: skipped, the index here knows none of the {len(packages)} packages")
        return 0
    found = [(package, one) for package in audited for one in package["vulns"]]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "no version"
        print(f"audit: {package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    print(f"audit: {len(audited)} of {len(packages)} packages, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
