"""What a build has made of its meshes: counts by source and cause, and the text that says so."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pointrecon.tools.debshapes.sources.sources import Item


def format_summary(summary: dict[str, Any]) -> str:
    """Writes the summary as text."""
    lines = [f"{'source':<22}{'meshes':>8}{'read':>8}{'kept':>8}  left out"]
    for name, counts in summary["sources"].items():
        causes = ", ".join(f"{cause} {count}" for cause, count in counts["left_out"].items())
        lines.append(f"{name:<22}{counts['meshes']:>8}{counts['read']:>8}{counts['kept']:>8}  {causes}")
    lines += [
        f"{summary['num_shapes']:,} shapes of {summary['num_meshes']:,} meshes, {summary['minutes']} min",
        f"checksum {summary['checksum']}",
    ]
    return "\n".join(lines)


def count_shapes(
    items: Sequence[Item],
    kept: Sequence[Item],
    failures: Mapping[str, str | None],
    counts: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """Counts by source.

    Args:
        items: All meshes.
        kept: Those of the finished data set.
        failures: Id -> why nothing was made of a mesh; None: something was.
        counts: Source -> cause -> how many shapes were left out.

    Returns:
        Source -> number of `meshes`, of those `read` and `kept`, and how many were `left_out` by cause.
    """
    result: dict[str, Any] = {}
    for name in dict.fromkeys(item.source for item in items):
        mine = [item for item in items if item.source == name]
        causes = Counter(failures[item.id] for item in mine if failures[item.id] is not None)
        result[name] = {
            "meshes": len(mine),
            "read": len(mine) - sum(causes.values()),
            "kept": sum(item.source == name for item in kept),
            "left_out": dict(sorted(causes.items())) | dict(counts.get(name, {})),
        }
    return result
