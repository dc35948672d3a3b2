"""The networks of runs, and what they make of hidden patches, at several mask ratios.

Shape legend: n objects, N points, G patches, K points per patch, M masked patches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.extensions import ops
from pointrecon.models.patches.masking import take_groups
from pointrecon.tools.checkpoints.pretrained import load_pretrained
from pointrecon.tools.report.objects import Objects
from pointrecon.tools.report.page import Page, note, table, text
from pointrecon.tools.report.runs import Run
from pointrecon.tools.visualize.files import read_arrays
from pointrecon.tools.visualize.reconstruction import SHAPES, chamfer_distances, split_patches
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import generator

NUM_OBJECTS = 6
MAX_NETWORKS = 2
RATIOS = tuple(tenth / 10 for tenth in range(1, 10))
CHECKPOINTS = ("ckpt-best.pth", "ckpt-last.pth")


@dataclass(frozen=True)
class Network:
    """A network of a run, in evaluation mode on the CPU.

    Attributes:
        name: of its run.
        module: the whole network, or its encoder alone.
        objects: what it is shown.
        run: the run.
    """

    name: str
    module: Any
    objects: Objects
    run: Run

    @property
    def encoder(self) -> Any:
        """The encoder."""
        return getattr(self.module, "encoder", self.module)


def find_networks(runs: Sequence[Run], objects: Mapping[str, Objects]) -> tuple[list[Network], list[str]]:
    """Loads networks: those of pretrainings if there are any, else those of other runs, else what they start from.

    Returns:
        At most two networks, and why others could not be loaded.
    """
    found: dict[Path, Run] = {}
    for run in sorted(runs, key=lambda run: run.config.get("task") != "pretrain"):
        path = next((run.folder / name for name in CHECKPOINTS if (run.folder / name).is_file()), None)
        init = run.config.get("init")
        path = path or (Path(init) if init and Path(init).is_file() else None)
        if path is not None:
            found.setdefault(path.resolve(), run)
    pretrained = {path: run for path, run in found.items() if run.config.get("task") == "pretrain"}
    networks: list[Network] = []
    notes: list[str] = []
    for path, run in (pretrained or found).items():
        if len(networks) == MAX_NETWORKS:
            notes.append(f"{run.name} is left out here: {MAX_NETWORKS} networks are shown.")
            continue
        try:
            module, _ = load_pretrained(path)
        except InputError as error:
            notes.append(f"{run.name}: {error}")
            continue
        networks.append(Network(run.name, module, objects[run.name], run))
    return networks, notes


def add_reconstructions(page: Page, networks: Sequence[Network], runs: Sequence[Run]) -> None:
    """The section of reconstructions, by the network, or from the file that a run has left."""
    panels: dict[str, str] = {}
    for network in networks:
        if hasattr(network.module, "decoder") and network.objects.pick(NUM_OBJECTS):
            try:
                panels[network.name] = _reconstruct(page, f"reconstruction-{len(panels)}", network)
            except InputError as error:
                panels[network.name] = note(str(error))
    for run in [] if panels else runs:
        for path in run.files("reconstructions.npz"):
            try:
                panels[run.name] = _from_file(page, f"reconstruction-{len(panels)}", path)
            except InputError as error:
                panels[run.name] = note(str(error))
    words = "No run has a pretrained network with a decoder, or reconstructions.npz."
    page.add(
        "reconstructions",
        "Reconstructions",
        page.panels("reconstructions", "Network of", panels) if panels else note(words),
    )


@torch.no_grad()
def _reconstruct(page: Page, key: str, network: Network) -> str:
    """A viewer: what a network makes of hidden patches, at each ratio."""
    objects, module = network.objects, network.module
    ids = objects.pick(NUM_OBJECTS)
    points = objects.points(ids)
    patches, centers = network.encoder.group(points)
    num_groups = centers.shape[1]
    stops: list[dict[str, Any]] = []
    for count in sorted({int(ratio * num_groups + 1e-9) for ratio in RATIOS} - {0, num_groups}):
        # The same draw for each ratio: what is hidden at one stays hidden at the next.
        split = module.draw_mask(centers, count, generator(points.device, 0))
        _, tokens = network.encoder(patches, centers, split)
        rebuilt = module.decoder(tokens, centers, split)
        hidden, middle = take_groups(patches, split.masked), take_groups(centers, split.masked)
        seen = take_groups(patches, split.visible) + take_groups(centers, split.visible).unsqueeze(2)
        made = rebuilt + middle.unsqueeze(2)
        distances = [float(ops.chamfer_distance(one, two)) for one, two in zip(rebuilt, hidden, strict=True)]
        stops.append(
            {
                "ratio": count / num_groups,
                "visible": seen.flatten(1, 2).numpy(),
                "rebuilt": made.flatten(1, 2).numpy(),
                "chamfer": distances,
            }
        )
    trained = float(network.run.config.get("model", {}).get("mask_ratio", 0.6))
    names = [objects.name(name) for name in ids]
    return _viewer(page, key, names, points.numpy(), stops, trained)


def _from_file(page: Page, key: str, path: Path) -> str:
    data = read_arrays(path, SHAPES)
    parts = [
        split_patches(*(data[name][row] for name in ("patches", "centers", "mask", "rebuilt")))
        for row in range(len(data["mask"]))
    ]
    visible, rebuilt = (np.stack(clouds) for clouds in zip(*parts, strict=True))
    distances = chamfer_distances(data).tolist()
    ratio = float(data["mask"].mean())
    stops = [{"ratio": ratio, "visible": visible, "rebuilt": rebuilt, "chamfer": distances}]
    return _viewer(page, key, [str(name) for name in data["names"]], data["points"], stops, ratio)


def _viewer(
    page: Page, key: str, names: Sequence[str], points: np.ndarray, stops: Sequence[Mapping[str, Any]], trained: float
) -> str:
    """Three clouds beside each other, a choice of the object and a slider of the ratio."""
    shapes: list[dict[str, Any]] = []
    for row, name in enumerate(names):
        own = [
            {
                "visible": page.add_cloud(f"{key}/{row}/{number}/v", stop["visible"][row]),
                "rebuilt": page.add_cloud(f"{key}/{row}/{number}/r", stop["rebuilt"][row]),
                "chamfer": f"{1000 * stop['chamfer'][row]:.2f}",
            }
            for number, stop in enumerate(stops)
        ]
        shapes.append({"name": name, "input": page.add_cloud(f"{key}/{row}", points[row]), "stops": own})
    start = int(np.argmin([abs(stop["ratio"] - trained) for stop in stops]))
    ratios = [f"{100 * stop['ratio']:.0f} %" for stop in stops]
    page.data.setdefault("reconstructions", {})[key] = {"shapes": shapes, "ratios": ratios}
    options = "".join(f'<option value="{row}">{text(name)}</option>' for row, name in enumerate(names))
    views = "".join(
        f'<figure class="view"><canvas class="cloud" tabindex="0" role="img" data-part="{part}" aria-label=""></canvas>'
        f"<figcaption>{words}</figcaption></figure>"
        for part, words in (("input", "input"), ("visible", "visible patches"), ("rebuilt", "reconstruction"))
    )
    head = ("object", *(f"{ratio} hidden" for ratio in ratios))
    rows = [(shape["name"], *(float(stop["chamfer"]) for stop in shape["stops"])) for shape in shapes]
    caption = "Squared Chamfer distance of the hidden patches x 1000"
    slider = (
        f'<label class="choice">Hidden patches <input type="range" min="0" max="{len(stops) - 1}" value="{start}" '
        f'step="1" class="ratio" aria-describedby="{key}-said"{" disabled" if len(stops) == 1 else ""}></label>'
    )
    words = "Drag a cloud to turn all three, or use the arrow keys. Blue: what the network saw; orange: what it made."
    return (
        f'<div class="reconstruction" id="{key}"><div class="controls"><label class="choice">Object '
        f'<select class="shape">{options}</select></label>{slider}</div><p class="said" id="{key}-said" '
        f'aria-live="polite"></p><div class="views">{views}</div>{note(words)}'
        f"<details><summary>{caption}</summary>{table(head, rows, caption)}</details></div>"
    )
