"""Names of 0 A.D.'s meshes: which of them are things of their own, and what the abbreviations in them mean."""

import re

from pointrecon.tools.debshapes.sources.names import load_table

_TABLE = load_table("zeroad")
# Last words of names: what a building, a ship or a tree wears, stored apart from it and scattered without it.
PARTS: str = _TABLE["parts"]
# Buildings: in the folder of small things these names mean what stands about in them.
BUILDINGS: str = _TABLE["buildings"]
VARIANT = r"(_[a-z]|_?\d+|_new|_closed|_open|_folded|_gold|_long|_short|_dead|_weap)*$"
# Names, from the folder below art/meshes on, without endings, of what is no shape of its own.
DROP = re.compile(
    "|".join(
        (
            r"^(temp|test)/|_test(_|$)|/(poly|trans|plot|object_pile|waterplane)$",  # trials
            r"marker|/aura|bird_circle|delimitator|boundry|/found_|wrld_bld_f|underbrush_plane",  # signs on the ground
            r"decal|waterplane|water_(wave|4x4)",
            r"shuttle|apples_fallen|/weap_\w*shaft|/arm_(left|right)",  # parts of tools and of people
            rf"^(?!props/maur_\w+_roof).*[_/]({PARTS})\d*{VARIANT}",  # Mauryan roofs are whole upper storeys
            rf"^props/[a-z]+_({BUILDINGS})\d?(_[a-z0-9]|_old|_fancy)*$",
            r"^props/hele_\w+_struct(_\d)?$|(mace|spart)_cc_struct_b|wonder_(struct|walls|fence|amphorae)",
            r"_shields_|_civic_shrub|_trireme_blanket|^structural/\w+_banner|_sphynx$(?<!statue_sphynx)",
            r"fortress_(up_)?gate",
            r"maur_(blacksmith_shield|cc_pillar)|celt_farmstead_shield|gaul_farmstead_struct1|mausoleum_cypress",
            r"orchard_trunk|market_fountain|curtainwall",
            r"^structural/(pers_gardens_(?!struct$)|hele_s[pr])|/rome_s2",
            r"^props/(helmet|shield)/props/|^props/shield/\w+_(b|back)(_[a-z])*$",  # crests and bosses; insides
            r"^props/horse/(\w*hair|rein|straps|chest|pelt)|/(hair|beard)_|_hairbun|pers_hair|kush_02_hair",
            # plants that are crossed pictures and nothing else; dead boughs of trees that are stored without them
            r"^gaia/(bush_(la|me|sm|dese)|grass|cattails|cross_|papyrus|plant_desert|berries)",
            r"^gaia/wrld_(grass|fol_(bush|grass))|^gaia/(cedar|oak|pine)_\w+_dead$|/leaves/",
        )
    ),
    re.IGNORECASE,
)

# Peoples that names begin with.
PEOPLES: dict[str, str] = _TABLE["peoples"]
# Abbreviations in names, as far as the actors tell what they stand for; an empty word says nothing.
WORDS: dict[str, str] = PEOPLES | {short: word for word, shorts in _TABLE["words"].items() for short in shorts.split()}
# Folders that say what is in them, and words beside which they need not.
KINDS: dict[str, tuple[str, str]] = {folder: (word, beside) for folder, (word, beside) in _TABLE["kinds"].items()}
TREES = set(_TABLE["trees"].split())
PLANTS = set(_TABLE["plants"].split())
