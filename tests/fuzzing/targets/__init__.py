"""What is fuzzed, by the name that --target takes."""

from tests.fuzzing.forms import Form
from tests.fuzzing.targets import (
    configs,
    datasets,
    meshes,
    opened,
    packages,
    pickles,
    results,
    resume,
    samples,
    scenes,
    weights,
)

TARGETS: dict[str, tuple[Form, ...]] = {
    "config": configs.FORMS,
    "datasets": datasets.FORMS,
    "checkpoint": weights.FORMS,
    "pickles": pickles.FORMS,
    "results": results.FORMS,
    "resume": resume.FORMS,
    "meshes": meshes.FORMS,
    "scenes": scenes.FORMS,
    "open": opened.FORMS,
    "packages": packages.FORMS,
    "shards": samples.SHARD_FORMS,
    "debshapes": samples.DEBSHAPES_FORMS,
}
