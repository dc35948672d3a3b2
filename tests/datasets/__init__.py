from dataclasses import fields

from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice

CHOICES = {item.name for item in fields(Choice)}


def opened(name, root, split, *, cache_root=None, **options):
    """A data set as programs open it; whatever is in `Choice` goes there, the rest to its constructor."""
    choice = Choice(split=split, **{key: options.pop(key) for key in list(options) if key in CHOICES})
    return open_split(name, str(root), choice, options, cache_root=cache_root)
