"""Workflows and forms are what GitHub accepts, as far as their public schemas say."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from packaging_files import ROOT

GITHUB = ROOT / ".github"
SCHEMAS = {
    "workflows/*.yml": "vendor.github-workflows",
    "dependabot.yml": "vendor.dependabot",
    "ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
}


@pytest.mark.skipif(not GITHUB.exists(), reason="not a clone")
@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="no check-jsonschema")
@pytest.mark.parametrize("pattern", SCHEMAS)
def test_files_have_their_schema(pattern):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[pattern]]
    files = sorted(GITHUB.glob(pattern))
    assert files
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
