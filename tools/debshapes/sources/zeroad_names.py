"""Names of 0 A.D.'s meshes: which of them are things of their own, and what the abbreviations in them mean."""

import re

# Last words of names: what a building, a ship or a tree wears, stored apart from it and scattered without it.
PARTS = (
    "antefixes|baskets|bixies|bones|branches|cargo|cloth|color|decor|dirt|doors?|eyecandy|fabric|fishboat"
    "|fishfull|fishhalf|flags|flaps|floortiles|flowers|foliage|gables|ground|gutters|hide|leaves|lions|marble"
    "|mast|mud|nature|needles|oars|paintings|palms|pediment|pieces|plants|props?|props[ab]|propsvar|dockprops|rail"
    "|reliefs?|roofs?|rooftiles|sails?|mainsail|foresail|frontsail|trisail|shields|shrouds?|sideboard|snow|statues"
    "|steps|stilts|studs|tentflaps|textil|tiles?|tile[bc]|top|trans|transp|trees|trunks|turf|water|weapons|windows|base"
)
# Buildings: in the folder of small things these names mean what stands about in them.
BUILDINGS = (
    "barracks|blacksmith|cc|civic3|dock|embassy|farmstead|fc|ff|fortress|governmentcentre|gym|hc|ho|house|hut|market|mc"
    "|mer|pc|sb|scout_tower|sp|sr|st|stable|stoa|storehouse|tc|tri|tower_artillery|warship|wc|wg|workshop"
)
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
PEOPLES = {
    "athen": "athenian",
    "brit": "british",
    "celt": "celtic",
    "gaul": "gallic",
    "han": "han chinese",
    "hele": "hellenic",
    "helle": "hellenic",
    "iber": "iberian",
    "kart": "carthaginian",
    "kush": "kushite",
    "mace": "macedonian",
    "maur": "mauryan",
    "pers": "persian",
    "ptol": "ptolemaic",
    "roman": "roman",
    "rome": "roman",
    "samn": "samnite",
    "sele": "seleucid",
    "spart": "spartan",
    "sparta": "spartan",
}
# Abbreviations in names, as far as the actors tell what they stand for; an empty word says nothing.
WORDS = {
    **PEOPLES,
    **dict.fromkeys(
        "alt animal cermy const csp dip eyecandy fauna fl fol fr hd he imp misc pivot plyr rl rr sb shared sp struct "
        "structb su tool tran weap wrld xin".split(),
        "",
    ),
    **dict.fromkeys("la lg lrg".split(), "large"),
    **dict.fromkeys("mer merc merch".split(), "merchant ship"),
    "airtower": "air tower",
    "animalpen": "animal pen",
    "arabtent": "arab tent",
    "auroch": "aurochs",
    "barrl": "barrel",
    "bigtent": "big tent",
    "bir": "bireme",
    "bl": "badlands",
    "build": "building",
    "cav": "cavalry",
    "cavhelm": "cavalry helmet",
    "cc": "civic centre",
    "char": "chariot",
    "civ": "civic",
    "civiccentre": "civic centre",
    "croc": "crocodile",
    "csword": "sword",
    "deci": "deciduous",
    "dude": "man",
    "dudette": "woman",
    "eaglebanner": "eagle banner",
    "fanpalm": "fan palm",
    "fc": "farmstead",
    "fem": "female",
    "ff": "fortress",
    "fishship": "fishing ship",
    "foragebush": "forage bush",
    "forumbuilding": "forum building",
    "garrisonflag": "garrison flag",
    "geo": "rock",
    "governmentcentre": "government centre",
    "greektent": "greek tent",
    "gym": "gymnasium",
    "hc": "temple",
    "helenistic": "hellenistic",
    "hex": "hexagonal",
    "ho": "house",
    "inf": "infantry",
    "jav": "javelin",
    "lboot": "boot",
    "lillies": "lilies",
    "lumbardypoplar": "lombardy poplar",
    "maces": "mace",
    "mc": "barracks",
    "me": "medium",
    "med": "medium",
    "medit": "mediterranean",
    "mon": "monument",
    "parth": "parthenon",
    "pc": "dock",
    "pillum": "pilum",
    "producebin": "produce bin",
    "qui": "quinquereme",
    "rboot": "boot",
    "rect": "rectangular",
    "rev": "reversed",
    "ricehat": "rice hat",
    "roundtemple": "round temple",
    "rugstand": "rug stand",
    "scaf": "scaffolding",
    "scandiv": "scandinavian",
    "senegal": "senegal date palm",
    "shld": "shield",
    "sm": "small",
    "sml": "small",
    "sphynx": "sphinx",
    "sq": "square",
    "standingstone": "standing stone",
    "stonemine": "stone mine",
    "superdock": "dock",
    "swrd": "sword",
    "tc": "market",
    "teeths": "teeth",
    "temp": "temperate",
    "tempe": "temperate",
    "tessalian": "thessalian",
    "tri": "trireme",
    "tric": "trireme",
    "walltwr": "wall tower",
    "waterbin": "water bin",
    "woodcord": "cord wood",
    "xlarge": "large",
}
# Folders that say what is in them, and words beside which they need not.
KINDS = {
    "bow": ("bow", ""),
    "crossbow": ("crossbow", ""),
    "helmet": (
        "helmet",
        "bandana cap crest crown earrings hat head hood horse neckguard pelt straw turban wolfskin wrap kidaris",
    ),
    "horse": ("horse", ""),
    "mushrooms": ("mushroom", ""),
    "quivers": ("quiver", ""),
    "shield": ("shield", ""),
    "spear": ("spear", ""),
    "sword": ("sword", ""),
    "trunks": ("bare tree", ""),
}
TREES = set(
    "acacia banyan baobab birch carob cedar cypress deciduous elm fig fir juniper kapok mangrove maple oak olive pine "
    "poplar strangler tamarix teak willow".split()
)
PLANTS = {"bush", "palm", "sapling", "tree", "trees", "trunk"}
