"""Pictures of a run, drawn from the files in its folder: they can be drawn again without the network."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pointrecon.utils.errors import InputError

FIGURES = "figures"
FORMATS = ("png", "pdf", "svg")
SOURCES = (
    "metrics.jsonl",
    "predictions.npz",
    "predictions-*.npz",
    "reconstructions.npz",
    "embeddings.npz",
    "embeddings-*.npz",
    "quickstart.json",
)


def draw_run(folder: Path, *, kind: str = "png") -> list[Path]:
    """Draws whatever the files of a run allow into <folder>/figures/; a broken file is named in the log and left out.

    Args:
        folder: the run folder.
        kind: file format: png, pdf or svg.

    Returns:
        the pictures that were drawn.
    """
    pictures: list[Path] = []
    for draw in _find_drawings(folder, kind=kind, has_title=True):
        try:
            pictures += draw()
        except InputError as error:  # a picture is not worth a run
            logging.getLogger("recon").warning(f"left out a picture: {error}")
    return pictures


def draw_folder(folder: Path, against: Sequence[Path] = (), *, kind: str = "png", has_title: bool = True) -> list[Path]:
    """Draws whatever the files of a run allow into <folder>/figures/, and its curves together with those of others.

    Args:
        folder: the run folder.
        against: other run folders; figures/curves-against.png shows them all.
        kind: file format: png, pdf or svg.
        has_title: False: no titles in the pictures, for papers.

    Returns:
        the pictures that were drawn.

    Raises:
        InputError: there is no such folder, nothing in it can be drawn, or a file is broken.
    """
    for place in (folder, *against):
        if not place.is_dir():
            raise InputError(f"run folder '{place}' does not exist; give the folder that a run has written")
    pictures = [picture for draw in _find_drawings(folder, kind=kind, has_title=has_title) for picture in draw()]
    if against:
        from pointrecon.tools.visualize.curves import draw_curves

        sources = {name: path / "metrics.jsonl" for name, path in name_runs([folder, *against]).items()}
        pictures += draw_curves(sources, folder / FIGURES / f"curves-against.{kind}", has_title=has_title)
    if not pictures:
        raise InputError(f"'{folder}' holds nothing to draw; a run folder has some of: {', '.join(SOURCES)}")
    return pictures


def _find_drawings(folder: Path, *, kind: str, has_title: bool) -> list[Callable[[], list[Path]]]:
    """One function for each picture that the folder has a file for."""
    # Only here: matplotlib takes a second to load, and whoever imports this package may not draw.
    from pointrecon.tools.visualize.confusion import draw_confusion
    from pointrecon.tools.visualize.curves import draw_curves
    from pointrecon.tools.visualize.reconstruction import draw_reconstructions
    from pointrecon.tools.visualize.results import draw_results
    from pointrecon.tools.visualize.tsne import draw_embeddings

    def draw_course(source: Path, target: Path, *, has_title: bool) -> list[Path]:
        return draw_curves({folder.name: source}, target, has_title=has_title)

    drawings: list[Callable[[], list[Path]]] = []
    for draw, pattern, name in (
        (draw_course, "metrics.jsonl", "curves"),
        (draw_confusion, "predictions.npz", "confusion"),
        (draw_confusion, "predictions-*.npz", "confusion"),
        (draw_reconstructions, "reconstructions.npz", "reconstruction"),
        (draw_embeddings, "embeddings.npz", "tsne"),
        (draw_embeddings, "embeddings-*.npz", "tsne"),
        (draw_results, "quickstart.json", "results"),
    ):
        for source in sorted(folder.glob(pattern)):
            suffix = source.stem.partition("-")[1:]
            target = folder / FIGURES / f"{name}{''.join(suffix)}.{kind}"
            drawings.append(partial(draw, source, target, has_title=has_title))
    return drawings


def name_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Calls each run by as many last parts of its path as tell it from the others."""
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    length = 1
    while len({folder.parts[-length:] for folder in folders}) < len(folders):
        length += 1
    return {"/".join(folder.parts[-length:]): folder for folder in folders}
