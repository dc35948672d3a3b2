"""The sentences in which a text teacher reads a name: ReCon's 60 (20 prefixes x 3 suffixes), and ULIP's 64."""

from collections.abc import Iterator, Sequence

from pointrecon.utils.errors import InputError

_KINDS = (
    *("model", "image", "3D model", "rendering model", "point cloud", "point cloud model", "3D rendering model"),
    *("rendering image", "3D rendering image"),
)
PREFIXES = ("", "A ", *(f"A {kind} of {article}" for kind in _KINDS for article in ("", "a ")))
SUFFIXES = (".", " with white background.", " with black context.")
TEMPLATES = tuple(f"{prefix}{{}}{suffix}" for prefix in PREFIXES for suffix in SUFFIXES)

_LOOKS = ("nice", "cool", "weird", "small", "large", "clean", "dirty")
_SHOTS = ("low resolution", "cropped", "close-up", "jpeg corrupted", "blurry", "pixelated")
_STUFFS = ("a plastic", "a toy", "a plushie", "a cartoon", "an embroidered")


def _both(text: str) -> Iterator[str]:
    """With `a`, then with `the` in the place of ARTICLE."""
    yield from (text.replace("ARTICLE", article) for article in ("a", "the"))


def _ulip() -> Iterator[str]:
    """ULIP's list (BSD-3), in which Uni3D and OpenShape read classes as well; its missing full stop included."""
    yield "a point cloud model of {}."
    yield from (f"There is {article} {{}} in the scene." for article in ("a", "the"))
    yield from (f"a photo of {article} {{}} in the scene." for article in ("a", "the", "one"))
    yield from (f"itap of {article} {{}}." for article in ("a", "my", "the"))
    yield from (f"a photo of {article} {{}}." for article in ("a", "my", "the", "one", "many"))
    for kind in ("good", "bad"):
        yield from _both(f"a {kind} photo of ARTICLE {{}}.")
    for look in _LOOKS:
        yield from _both(f"a photo of ARTICLE {look} {{}}.")
    for kind in ("bright", "dark"):
        yield from _both(f"a {kind} photo of ARTICLE {{}}.")
    yield from _both("a photo of ARTICLE hard to see {}.")
    for shot in _SHOTS:
        yield from _both(f"a {shot} photo of ARTICLE {{}}.")
    yield from ("a black and white photo of the {}.", "a black and white photo of a {}")
    for stuff in _STUFFS:
        yield from (f"{stuff} {{}}.", f"the {stuff.split()[1]} {{}}.")
    yield from ("a painting of the {}.", "a painting of a {}.")


ULIP_TEMPLATES = tuple(_ulip())
TEMPLATE_SETS = {"recon": TEMPLATES, "ulip": ULIP_TEMPLATES}


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
