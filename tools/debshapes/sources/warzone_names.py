"""What the meshes of Warzone 2100 are: their file names are codes; 'prhltrk2' are the tracks of a heavy vehicle."""

import re

# The first expression that is found in 'folder/name' gives the name; what none is found in is read word by word.
_TURRET = (
    ("aaturret|msl|rck|rkt|assat|silo|mra$|sc_atm|cy_miss", "missile launcher"),
    ("mort|how", "howitzer"),
    ("flm|flame", "flamethrower"),
    ("mg$|gun$|gun_|gnx", "machine gun"),
    ("can|hpvcn|asscn|cy_can", "cannon"),
    ("las|pulse|plasm|plsma|super", "laser gun"),
    ("gss|rail", "rail gun"),
    ("snsr|sensor|ecm|cmd", "sensor"),
    ("rep", "repair arm"),
    ("con$", "construction crane"),
    ("vtl", "aircraft bomb rack"),
    ("", "gun"),
)
_PATTERNS = [
    ("/(components/prop)/.*trk", "caterpillar tracks"),
    ("/(components/prop)/.*htr", "half track wheels"),
    ("/(components/prop)/.*whl", "vehicle wheels"),
    ("/(components/prop)/.*(hov)", "hovercraft skirt"),
    ("/(components/prop)/.*(vtl)", "aircraft engines"),
    ("/(components/prop)/.*heli", "helicopter rotor"),
    ("/(components/prop)/.*naval", "ship hull"),
    ("/(components/prop)/", "vehicle part"),
    *((f"/components/weapons/.*(?:{pattern})", words) for pattern, words in _TURRET if pattern),
    ("/components/weapons/", "gun"),
    ("/components/bodies/(cy|drcy|scbd)", "soldier in armour"),
    ("/components/bodies/dr", "vehicle body"),
    ("/components/bodies/(exbloke|walkanim|runanim)", "man"),
    ("/components/bodies/(runflame|flamfall|fireknee)", "burning man"),
    ("/components/bodies/(exbug|extrike)", "buggy car"),
    ("/components/bodies/.*jeep", "jeep car"),
    ("/components/bodies/(exfire|nextrack|.*truck)", "truck"),
    ("/components/bodies/(exschool|camper)", "bus"),
    ("/components/bodies/.*van", "van"),
    ("/components/bodies/.*chop", "helicopter"),
    ("/components/bodies/crane", "crane"),
    ("(mi|bl)ware", "warehouse building"),
    ("wall|wlh", "wall"),
    ("gate", "gate"),
    ("tow|tw$|look|guard|grd", "guard tower"),
    ("pil|bunk|bnk|hardpt|mnt|pit|bas$", "bunker"),
    ("cool", "cooling tower"),
    ("tree", "tree"),
    ("bush", "bush"),
    ("mibould", "boulder"),
    ("brid|brd", "bridge"),
    ("wre?c?k", "wreck"),
    ("miruin", "ruin building"),
    ("pipe", "pipe"),
    ("pylon", "pylon"),
    ("crane", "crane"),
    ("tanker", "tanker truck"),
    ("milblu|blucar|michevy", "car"),
    ("mijeep", "jeep car"),
    ("mipick", "pickup truck"),
    ("micamper", "bus"),
    ("trap", "tank trap"),
    ("slick", "oil slick"),
    ("nuke|capsul|exrocket", "rocket"),
    ("lab$|resch|research_module", "laboratory building"),
    ("fact|fac$", "factory building"),
    ("hq", "headquarters building"),
    ("power|gen$", "power station building"),
    ("deri|oil", "oil derrick"),
    ("hut|cabin", "hut building"),
    ("vtolpd", "landing pad"),
    ("repa?i?r", "repair station building"),
    ("dish|radar", "radar dish"),
    ("/(structs|features)/(bl|mi?bui|mibld|mifac)", "building"),
    ("jetfx", "jet flame"),
    ("/researchimds/dpvtol", "aircraft"),
    ("/researchimds/icspan", "spanner"),
    ("/researchimds/.*cam", "camera"),
]


def name_of(folder: str, name: str) -> str:
    """Returns what the mesh is called, '' if its name says it itself.

    Args:
        folder: Inside the archive.
        name: File name without its ending.
    """
    stem = re.sub(r"\d+.*$", "", name.lower()) or name.lower()
    place = f"/{folder}/{stem}"
    return next((words for pattern, words in _PATTERNS if re.search(pattern, place)), "")
