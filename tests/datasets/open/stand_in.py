"""Many made-up objects in the layout of the converted shards, and how fast they are read on one core.

python -m tests.datasets.open.stand_in FOLDER [objects, 4000] [points, 10000] [width, 1280]
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from pointrecon.datasets.loader import train_loader
from pointrecon.datasets.open.objects import OpenObject
from pointrecon.datasets.open.openshape import OpenShape
from pointrecon.datasets.open.shards import FORMAT, MANIFEST, write_shard

SHARD = 500  # objects


def write_stand_in(root, num_objects, num_points=10_000, width=1280, shard=SHARD):
    """Writes <root>/openshape/shards: each shard has the same random clouds and features under ids of their own."""
    random = np.random.default_rng(0)
    folder = Path(root) / "openshape" / "shards"
    kinds = np.array([0, 1, 2, 3, 3, 3], np.uint8)
    drawn = [
        (
            random.uniform(-1, 1, (num_points, 3)).astype(np.float32),
            random.random((num_points, 3), np.float32),
            random.standard_normal((13, width), np.float32).astype(np.float16),
            random.standard_normal((len(kinds), width), np.float32).astype(np.float16),
        )
        for _ in range(min(50, shard))
    ]
    shards = []
    for first in range(0, num_objects, shard):
        made = []
        for number in range(first, min(first + shard, num_objects)):
            points, colors, views, texts = drawn[number % len(drawn)]
            name, words = f"{number:032x}", [f"text {place}" for place in range(len(kinds))]
            made.append(OpenObject("Objaverse", "000-000", name, points, colors, views, True, words, kinds, texts))
        path = folder / f"a-{first:09d}.safetensors"
        write_shard(made, path)
        shards.append({"file": path.name, "count": len(made), "bytes": path.stat().st_size})
    means = {"image": [0.0] * width, "text": [0.0] * width}
    manifest = {"format": FORMAT, "width": width, "means": means, "counts": {}, "skipped": {}, "shards": shards}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def own_memory():
    """Bytes of this process's own memory, without mapped files."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def read_epoch(dataset, batch_size, epoch=0):
    """Reads an epoch in this process; yields objects read, seconds of its CPU and its own memory, batch by batch."""
    loader = train_loader(dataset, batch_size)
    loader.sampler.epoch = epoch
    start, done = time.process_time(), 0
    for batch in loader:
        done += len(batch["points"])
        yield done, time.process_time() - start, own_memory()


def main():
    root, *numbers = sys.argv[1:]
    num_objects, num_points, width = (*map(int, numbers), *(4000, 10_000, 1280)[len(numbers) :])
    torch.set_num_threads(1)
    if not (Path(root) / "openshape").is_dir():
        write_stand_in(root, num_objects, num_points, width)
    start = time.process_time()
    dataset = OpenShape(root, objects=None, gpt4_filter=False)
    print(f"opened {len(dataset):,} objects in {time.process_time() - start:.2f} s of CPU")
    for epoch in range(3):
        wall = time.perf_counter()
        seen = list(read_epoch(dataset, 64, epoch))
        count, seconds, _ = seen[-1]
        wall, memory = time.perf_counter() - wall, [memory / 1e6 for *_, memory in seen]
        print(
            f"epoch {epoch}: {count / seconds:,.0f} objects a second of CPU, {count / wall:,.0f} by the clock; "
            f"own memory {memory[0]:.0f} MB at first, {max(memory):.0f} at most, {memory[-1]:.0f} at last"
        )
    before = time.process_time()
    loader = train_loader(dataset, 64, num_workers=1)
    for _ in loader:
        pass
    own = time.process_time() - before
    del loader  # the loading process ends, and its time is known
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    rate = len(dataset) / (used.ru_utime + used.ru_stime)
    print(f"in a loading process: {rate:,.0f} objects a second of its CPU, and {own:.2f} s of CPU here")


if __name__ == "__main__":
    main()
