"""A run folder is held on systems without `fcntl` too, as Windows."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_run_trains_where_there_is_no_fcntl(tmp_path):
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from aliasfree.cli import main\n"
        "sys.argv = ['aliasfree', 'train', '--data', 'digits', '--config', 'A', '--out', 'run', '--image-size', '8',\n"
        "            '--base-channels', '4', '--steps', '1', '--batch-size', '2', '--sample-every', '0']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"ALIASFREE_CACHE": str(tmp_path / "cache")})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "config.json").is_file()
