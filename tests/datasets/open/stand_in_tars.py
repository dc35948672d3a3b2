"""Made-up objects of full size in OpenShape's own tar files, to time their conversion.

python -m tests.datasets.open.stand_in_tars FOLDER [objects, 10000] [tar files, 10]
python scripts/convert_openshape.py FOLDER --out DIR --jobs 2
"""

import io
import multiprocessing
import sys
import tarfile
from pathlib import Path

import numpy as np

WIDTH = 1280
TIMES = 1_577_836_800  # every member is of the same second


def make_object(random, group, name):
    """A dict as in merged_for_training_final: 12 views, a thumbnail, a name, two captions, two retrieved ones."""

    def feature():
        return random.standard_normal((1, WIDTH), np.float32).astype(np.float16)

    def features():
        return {"original": feature(), "prompt_avg": feature()}

    return {
        "dataset": "Objaverse",
        "group": group,
        "id": name,
        "xyz": random.uniform(-1, 1, (10_000, 3)).astype(np.float32),
        "rgb": (random.integers(0, 256, (10_000, 3)) / 255).astype(np.float32),
        "image_feat": random.standard_normal((12, WIDTH), np.float32).astype(np.float16),
        "thumbnail_feat": feature()[0],
        "text": ["a made-up object"],
        "text_feat": [features()],
        "blip_caption": "a picture of an object",
        "blip_caption_feat": features(),
        "msft_caption": "an object on a table",
        "msft_caption_feat": features(),
        "retrieval_text": ["an object, as sold", "another one"],
        "retrieval_text_feat": [features(), features()],
    }


def write_tar(path, number, count):
    """One tar.gz of `count` objects."""
    random, group = np.random.default_rng(number), f"000-{number:03d}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for place in range(count):
            name, file = f"{number * 1_000_000 + place:032x}", io.BytesIO()
            value = np.empty((), object)
            value[()] = make_object(random, group, name)
            np.save(file, value, allow_pickle=True)
            member = tarfile.TarInfo(f"objaverse-processed/merged_for_training_final/Objaverse/{group}/{name}.npy")
            member.size, member.mtime = file.tell(), TIMES
            file.seek(0)
            archive.addfile(member, file)


def main():
    root, *numbers = sys.argv[1:]
    num_objects, num_tars = (*map(int, numbers), *(10_000, 10)[len(numbers) :])
    counts = [num_objects // num_tars + (place < num_objects % num_tars) for place in range(num_tars)]
    tasks = [(Path(root) / "Objaverse" / f"000-{place:03d}.tar.gz", place, count) for place, count in enumerate(counts)]
    with multiprocessing.Pool() as pool:
        pool.starmap(write_tar, tasks, chunksize=1)


if __name__ == "__main__":
    main()
