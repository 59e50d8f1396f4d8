"""The run of grpo_smollm2.yaml from Python, as in a notebook: a few steps, then a look at the numbers."""

import json
from pathlib import Path

from lightrft_apps import RLConfig, train

recipe = RLConfig.from_file("examples/grpo_smollm2.yaml").to_flat()
summary = train(RLConfig.create(**recipe | {"max_steps": 4, "save_steps": -1, "output_dir": "runs/from_python"}))

for line in Path("runs/from_python/metrics.jsonl").read_text().splitlines():
    metrics = json.loads(line)
    print(metrics["step"], metrics.get("reward/mean"), metrics.get("eval/accuracy"))
print(summary["accuracy_before"], summary["accuracy_after"])
