"""Training by two processes on this machine, as `torchrun` starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "training" / "train_here.py"


def two_processes(settings: Any, cache: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script with settings, a cache of images and the script's options, and wait for its end."""
    file = settings.out.with_suffix(".json")
    file.write_text(json.dumps(settings.to_dict()))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*launcher, str(SCRIPT), str(file), str(cache), *options],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )
