"""The sentences in which a text teacher reads a name: the 60 published templates (20 prefixes x 3 suffixes)."""

from collections.abc import Sequence

from pointrecon.utils.errors import InputError

_KINDS = (
    *("model", "image", "3D model", "rendering model", "point cloud", "point cloud model", "3D rendering model"),
    *("rendering image", "3D rendering image"),
)
PREFIXES = ("", "A ", *(f"A {kind} of {article}" for kind in _KINDS for article in ("", "a ")))
SUFFIXES = (".", " with white background.", " with black context.")
TEMPLATES = tuple(f"{prefix}{{}}{suffix}" for prefix in PREFIXES for suffix in SUFFIXES)


def prompts_for(name: str, templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Puts a name into templates.

    Args:
        name: What the object or the class is called; see `readable` for how it is written in the sentence.
        templates: Sentences with {} in the place of the name.

    Returns:
        One sentence a template, in their order.

    Raises:
        InputError: The name is empty.
    """
    text = readable(name)
    if not text:
        raise InputError("a name for the text teacher is empty; give every object and class a name")
    return [template.replace("{}", text) for template in templates]


def readable(name: str) -> str:
    """Writes a name as it stands inside a sentence: "Night_stand" -> "night stand"."""
    return " ".join(name.replace("_", " ").split()).lower()


def spread_templates(count: int) -> list[str]:
    """Picks templates that cover prefixes and suffixes evenly.

    Args:
        count: How many, 1 to 60. Up to 20: each with another prefix, the suffixes taking turns.

    Raises:
        InputError: There are not that many.
    """
    if not 1 <= count <= len(TEMPLATES):
        raise InputError(f"{count} templates were asked for, but there are 1 to {len(TEMPLATES)}")
    num_prefixes, num_suffixes = len(PREFIXES), len(SUFFIXES)
    # Round r takes every prefix once, with the suffixes shifted by r, so that three rounds take all 60.
    picks = [(p, (p + turn) % num_suffixes) for turn in range(num_suffixes) for p in range(num_prefixes)]
    if count < num_prefixes:
        picks = [picks[i * num_prefixes // count] for i in range(count)]
    return [TEMPLATES[prefix * num_suffixes + suffix] for prefix, suffix in picks[:count]]
