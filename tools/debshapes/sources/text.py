"""What a shape is called: file and catalogue names turned into the words of a sentence.

Numbers, unit codes and part numbers go; words that say what a thing is stay.
"""

import re
from pathlib import PurePosixPath

from pointrecon.tools.debshapes.sources import part_names, zeroad_names
from pointrecon.tools.debshapes.sources.sources import Item

NAMING = 2  # raised when the same names give other texts
# What a folder of KiCad's library holds; folders that are not here are read word by word.
KICAD_FOLDERS = {
    "Battery": "battery holder",
    "Button_Switch": "switch",
    "Buzzer_Beeper": "buzzer",
    "Capacitor": "capacitor",
    "Capacitor_Tantalum": "tantalum capacitor",
    "Connector_AMASS": "power connector",
    "Connector_BarrelJack": "barrel jack connector",
    "Connector_Coaxial": "coaxial connector",
    "Connector_Dsub": "d-sub connector",
    "Connector_FFC-FPC": "flat cable connector",
    "Connector_HDMI": "HDMI connector",
    "Connector_IDC": "ribbon cable connector",
    "Connector_JST": "wire connector",
    "Connector_Molex": "wire connector",
    "Connector_Phoenix": "terminal connector",
    "Connector_PinHeader": "pin header",
    "Connector_PinSocket": "pin socket",
    "Connector_RJ": "network jack",
    "Connector_SATA_SAS": "SATA connector",
    "Connector_Stocko": "wire connector",
    "Connector_USB": "USB connector",
    "Converter_ACDC": "power converter module",
    "Converter_DCDC": "power converter module",
    "Crystal": "crystal oscillator",
    "Display": "display",
    "Display_7Segment": "seven segment display",
    "LED": "light emitting diode",
    "Mounting_Wuerth": "mounting spacer",
    "OptoDevice": "optical sensor",
    "Package_BGA": "ball grid array chip",
    "Package_DFN_QFN": "leadless chip",
    "Package_DIP": "dual in-line chip",
    "Package_DirectFET": "transistor",
    "Package_LGA": "land grid array chip",
    "Package_QFP": "quad flat chip",
    "Package_SIP": "single in-line chip",
    "Package_SO": "small outline chip",
    "Package_SON": "leadless chip",
    "Package_TO_SOT": "transistor",
    "RF_Antenna": "antenna",
    "RF_Module": "radio module",
    "TerminalBlock": "terminal block",
    "TestPoint": "test point",
}
_KICAD_MOUNTING = {"THT": "through hole", "SMD": "surface mount"}
# Words of KiCad's file names that can be seen; all others are makers, series and codes.
_KICAD_WORDS = {
    "angled": "angled",
    "antenna": "antenna",
    "axial": "axial",
    "bridge": "bridge rectifier",
    "dip": "dip",
    "disc": "disc",
    "dpdt": "double throw",
    "elec": "electrolytic",
    "female": "female",
    "flange": "with flange",
    "header": "header",
    "holder": "holder",
    "horizontal": "horizontal",
    "housed": "housed",
    "latch": "with latch",
    "left": "left",
    "male": "male",
    "module": "module",
    "piano": "piano",
    "plug": "plug",
    "power": "power",
    "push": "push button",
    "radial": "radial",
    "rect": "box",
    "receptacle": "receptacle",
    "reed": "reed",
    "relay": "relay",
    "resonator": "resonator",
    "rotary": "rotary",
    "round": "round",
    "shielded": "shielded",
    "slide": "slide",
    "socket": "socket",
    "spdt": "double throw",
    "spst": "single throw",
    "straight": "straight",
    "tab": "with tab",
    "toroid": "toroid",
    "vertical": "vertical",
    "wide": "wide",
    "window": "with window",
}
# Names of files and folders that say nothing about what is in them.
_EMPTY = set(
    "a an and anim body c data default extras final frame game gfx graphics hi high lo lod low lowpoly main mesh "
    "mod mods model models new obj object objects old packages part poly res share standard stk stklib test "
    "textured the tris usr util v x y z homedecor forniture lrfurn moreblocks pipeworks".split()
)
# Words that need another one beside them.
_SIZES = {"big", "large", "medium", "small", "tiny"}
# Folders that say what their content is when the file's name does not.
_KINDS = {
    "actors": "character",
    "building": "building",
    "buildings": "building",
    "cars": "car",
    "characters": "character",
    "commercial": "shop building",
    "factions": "",
    "faction": "",
    "industrial": "industrial building",
    "karts": "kart",
    "residential": "house",
    "resources": "",
    "structures": "building",
    "techs": "",
    "tilesets": "",
    "trees": "tree",
    "vehicle": "vehicle",
    "vehicles": "vehicle",
    "weapons": "weapon",
    "wheels": "wheel",
}
# Sources whose catalogue names its objects.
_NAMED = ("sweethome3d",)
# What is in a source, for the few names that hold no word.
_DEFAULTS = {"crrcsim": "model aircraft", "gl117": "military model", "kicad": "electronic part", "torcs": "race car"}


def text_of(item: Item) -> str:
    """Returns what the shape is called: lower case, at least one word, a handful at most.

    Args:
        item: With the name as its package has it, and hints such as folder names, from general to special.
    """
    if item.source in _NAMED and item.name.strip():
        return " ".join(item.name.lower().split())
    name = part_names.name_of(item.source, item.hints, item.name)
    if name:
        return name
    words = {"kicad": _kicad_words, "0ad": _zeroad_words}.get(item.source, _plain_words)(item)
    return " ".join(dict.fromkeys(" ".join(words).split())) or _DEFAULTS.get(item.source, item.source)


def split_name(name: str) -> list[str]:
    """Splits a name at underscores, capitals and digits: 'oldHouse_2b' -> ['old', 'house'].

    Numbers go, with the single letters beside them; words of capitals stay together.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    parts = re.split(r"[^\w']+|_+", name)
    words = [word for part in parts for word in re.split(r"\d+", part)]
    return [word.lower().strip("'") for word in words if len(word.strip("'")) > 1]


def family_of(item: Item) -> str:
    """Returns the name that all sizes of a part share: the folder, and the file's name without numbers and units."""
    path = PurePosixPath(item.path.replace("#", "/"))
    stem = re.sub(r"\d+([.,]\d+)?(mm|cm)?", "", path.name.rpartition(".")[0] or path.name)
    family = f"{item.source}:{path.parent}/{re.sub(r'[-_ ]+', '_', stem).strip('_').lower()}"
    code = part_names.name_of(item.source, item.hints, item.name)  # numbers of such names mean different things
    return f"{family}/{code}" if code else family


def _kicad_words(item: Item) -> list[str]:
    path = PurePosixPath(item.path)
    folder = path.parent.name.removesuffix(".3dshapes")
    stem = path.name.rpartition(".")[0]
    kind, _, mounting = folder.rpartition("_")
    if mounting not in _KICAD_MOUNTING:
        kind, mounting = folder, ""
    noun = next((KICAD_FOLDERS[key] for key in _shorter(kind) if key in KICAD_FOLDERS), "")
    noun = noun or " ".join(split_name(kind)) or "electronic part"
    seen = [_KICAD_WORDS[word] for word in split_name(stem) if word in _KICAD_WORDS]
    if re.search(r"(?<![A-Za-z])SMD(?![A-Za-z])", stem):
        seen.append("surface mount")
    code = re.match(r"(TO|SOT|SOD|SC)-?\d+", stem)
    shape = [code.group().lower()] if code else []
    return [*shape, noun, *_kicad_pins(stem, folder), *seen, _KICAD_MOUNTING.get(mounting, "")]


def _shorter(kind: str) -> list[str]:
    """'Connector_PinHeader_2.54mm' -> that, 'Connector_PinHeader', 'Connector'."""
    parts = kind.split("_")
    return ["_".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _kicad_pins(stem: str, folder: str) -> list[str]:
    grid = re.search(r"(?<![\dx.])(\d{1,2})x(\d{2})(?![\d.x])", stem)
    if grid and folder.startswith(("Connector", "TerminalBlock")):
        rows, columns = int(grid[1]), int(grid[2])
        return [f"{rows * columns} pins" if rows * columns > 1 else "1 pin"]
    switches = re.search(r"SPSTx(\d+)", stem)
    if switches:
        return [f"{int(switches[1])} positions"]
    count = re.match(r"(?:[A-Za-z]+_)?[A-Z]*(?:DIP|SO|SOIC|SOP|SSOP|QFN|DFN|QFP|BGA|SON|LGA|SIP|DSUB)-(\d+)", stem)
    return [f"{int(count[1])} pins"] if count else []


def _zeroad_words(item: Item) -> list[str]:
    words = split_name(item.name)
    if words[:1] == ["cart"]:  # elsewhere a cart; and Mauryas have maces
        words[0] = "kart"
    keeps = {"mace"} if "maur" in words else set()
    own = " ".join(word if word in keeps else zeroad_names.WORDS.get(word, word) for word in words).split()
    own = [word for word in own if word not in _EMPTY]
    if item.hints == ("skeletal", "new"):  # bodies without heads, in clothes
        own = ["headless", "woman" if item.name.startswith("f_") else "man", *own]
    if set(own) & zeroad_names.TREES and not set(own) & zeroad_names.PLANTS:
        own.append("tree")
    kinds = [zeroad_names.KINDS[hint] for hint in item.hints if hint in zeroad_names.KINDS]
    own += [kind for kind, others in kinds if not set(own) & set(others.split())]
    is_bare = set(own) <= set(" ".join(zeroad_names.PEOPLES.values()).split())
    return [*own, "building"] if is_bare and item.hints[:1] == ("structural",) else own[:9]


def _plain_words(item: Item) -> list[str]:
    own = [word for word in split_name(item.name) if word not in _EMPTY]
    hints = [hint.lower() for hint in item.hints]
    kinds = [_KINDS[hint] for hint in hints if _KINDS.get(hint)]
    if set(own) <= _SIZES:
        folders = [split_name(hint) for hint in reversed(item.hints) if hint.lower() not in _KINDS]
        own += next((good for words in folders if (good := [w for w in words if w not in _EMPTY | _SIZES])), [])
    kind = kinds[-1:] if not set(" ".join(kinds[-1:]).split()) & set(own) else []
    return [*own[:8], *kind]
