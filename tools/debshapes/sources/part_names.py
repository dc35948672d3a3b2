"""What meshes are whose file names are codes, as the games and robots that they come from call them."""

import re

from pointrecon.tools.debshapes.sources import warzone_names

# Names without endings; '*' stands for digits. What is not here is read word by word or is the source's default.
_TABLES: dict[str, dict[str, str]] = {
    "colobot": {
        "alien ant part": "ant*",
        "alien wasp part": "bee*",
        "alien spider part": "spider*",
        "alien worm part": "worm*",
        "alien queen part": "mother*",
        "alien nest": "nest",
        "alien egg": "egg",
        "tripod": "apolloa",
        "flag": "apollof",
        "lunar rover": "apolloj1",
        "dish antenna": "apolloj2 search3",
        "lunar rover wheel": "apolloj4",
        "lunar rover fender": "apolloj5 apolloj6",
        "lunar rover part": "apolloj3",
        "lunar equipment": "apollom",
        "lunar lander": "apollol1",
        "lunar lander leg": "apollol2",
        "ladder": "apollol3",
        "nuclear cell": "atomic",
        "power cell": "power",
        "bag": "bag",
        "barricade": "barricade*",
        "barrier": "barrier*",
        "spaceship": "base1",
        "black box": "bbox",
        "building part": "base2 base3 base4 convert2 convert3 destroy2 factory2 info* labo2 labo3 labo4 nuclear2 "
        "portico2 portico3 portico4 portico5 radar1 repair2 safe2 safe3 search2",
        "spiked mine": "bomb",
        "organic matter": "bullet",
        "robot cannon": "canon canoni* neutron ruin2c",
        "gourd": "courge*",
        "cross marker": "cross1 cross2 waypoint",
        "octagonal marker": "cross3 crossa crossb crossc crossd",
        "converter": "convert1",
        "drilling derrick": "derrick1",
        "drill": "derrick2",
        "destroyer building": "destroy1",
        "drawing robot": "drawer1",
        "robot caterpillar track": "drawer2 drawer3 lem2t lem3t roller2 roller3 subm4 subm5",
        "drawing robot carousel": "drawer4",
        "pencil": "drawer10 drawer11 drawer12 drawer13 drawer14 drawer15 drawer16 drawer17",
        "landing pad": "end start",
        "power plant": "energy",
        "robot factory": "factory1",
        "mushroom house": "home1",
        "astronaut torso": "human1c human1h human1v",
        "astronaut helmet": "human2c*",
        "glasses": "human2g*",
        "human head": "human2h*",
        "human head with cap": "human2t",
        "human arm": "human3",
        "human forearm": "human4l human4r",
        "human hand": "human5",
        "human thigh": "human6",
        "human leg": "human7",
        "human foot": "human8",
        "gun": "human9",
        "mission control building": "huston1",
        "antenna support": "huston2 portico6 radar3",
        "antenna reflector": "huston3 portico7 radar4",
        "key": "keya keyb keyc keyd",
        "laboratory": "labo1",
        "robot body": "lem1f lem1i lem1t lem1w lem1wt roller1 trainer trainerr trainert trainerw",
        "robot part": "drawer5 lem2f lem4 lem4s lem5 lem6 recover* roller2c roller2s roller2t roller3c roller3p "
        "roller3s roller3t roller4s subm2 subm3 toto* trainera trainerf trainerg traineri",
        "robot wheel": "lem2w",
        "robot arm": "lem2 lem3",
        "titanium cube": "metal",
        "mushroom": "mush*",
        "cooling tower": "nuclear1",
        "power captor": "para",
        "leafy plant": "plant0 plant1 plant2 plant3 plant4 teen27",
        "clover plant": "plant5 plant6 plant7 teen42 teen43",
        "squash plant": "plant8 plant9",
        "succulent plant": "plant10 plant11 plant12 plant13 plant14",
        "fern plant": "plant15 plant16 plant17 plant18 plant19",
        "gantry": "portico1",
        "quartz crystal": "quartz*",
        "radar base": "radar2",
        "repair station": "repair1",
        "root": "root*",
        "robot wreck": "ruin1 ruin2 ruin3",
        "wheel": "ruin1w teen17 teen18",
        "factory ruin": "ruin4",
        "ruin": "ruin5 ruin6 ruin7",
        "converter ruin": "ruin8",
        "spaceship ruin": "ruin9 ruin10",
        "vault base": "safe1",
        "research center": "search1",
        "arrow": "show",
        "power station": "station",
        "ore": "stone uranium",
        "submarine robot": "subm1 trainers",
        "target robot": "target",
        "ring target": "target1",
        "pencils": "teen0 teen1 teen2",
        "jar with pencils": "teen3",
        "scissors": "teen4",
        "compact disc": "teen5",
        "book": "teen6 teen7",
        "stack of books": "teen8 teen9",
        "row of books": "teen10",
        "desk lamp": "teen11",
        "drink can": "teen12",
        "cardboard box": "teen13",
        "open cardboard box": "teen14",
        "stack of cardboard boxes": "teen15",
        "watering can": "teen16",
        "stack of wheels": "teen19",
        "wall": "teen20",
        "wall with window": "teen21",
        "wall with door": "teen22",
        "skateboard": "teen23 teen24 teen25",
        "ceiling lamp": "teen26",
        "bottle": "teen28",
        "footbridge": "teen29",
        "bucket": "teen30",
        "shoe": "teen31",
        "office chair": "teen32",
        "signpost": "teen33",
        "rock": "teen34",
        "pipe": "teen35",
        "tree trunk": "teen36",
        "paper boat": "teen37",
        "fan base": "teen38a",
        "fan cage": "teen38b",
        "propeller": "teen38c",
        "potted plant": "teen39",
        "ball": "teen40",
        "fence with gate": "teen41",
        "wooden crate": "teen44",
        "explosive box": "tnt",
        "defense tower": "tower",
        "tree": "tree*",
        "firework launcher": "winfire",
    },
    "scorched3d": {
        "tank": "a7v bradley m1a1 mark1 panzer3 t55 t74 tank2 tank5 siegetank siegetank2",
        "hover tank": "aat",
        "anti-aircraft tank": "flakpanzerwirbelwind sa-19 zsu-24-1",
        "self-propelled gun": "howitzer m110 m7priest paladin wespe",
        "towed gun": "m198 towedartillery",
        "railway gun": "railgun",
        "gun turret": "hothgun hothgun2 tank3 tank4",
        "anti-aircraft gun": "phalanx",
        "attack helicopter": "apache apache-long hind",
        "walking war machine": "atst",
        "rocket launcher truck": "bm13",
        "rocket launcher tank": "tos1",
        "missile launcher": "harpoon hawk rapier ram sa6 seasparrow tank6",
        "missile launcher truck": "hummermlrs hummersam patriot scud",
        "military off-road car": "hummertow",
        "rocket": "v2",
        "question mark": "question",
        "cluster bomb": "clusterbomb clusterbomb2",
        "rock": "rock1 rock2",
        "ball": "roller",
    },
    "dart": {
        "humanoid robot collar": "l_clav r_clav",
        "humanoid robot forearm": "l_farm r_farm",
        "humanoid robot foot": "l_foot r_foot",
        "humanoid robot hand": "l_hand r_hand",
        "humanoid robot head": "head head_camera",
        "humanoid robot hip": "l_lglut r_lglut l_uglut r_uglut",
        "humanoid robot lower arm": "l_larm r_larm",
        "humanoid robot lower leg": "l_lleg r_lleg",
        "humanoid robot shoulder": "l_scap r_scap",
        "humanoid robot ankle": "l_talus r_talus",
        "humanoid robot upper arm": "l_uarm r_uarm",
        "humanoid robot upper leg": "l_uleg r_uleg",
        "humanoid robot pelvis": "pelvis",
        "mobile robot emergency stop button": "estop_link",
        "mobile robot upper arm": "upperarm_roll_link_collision",
        "humanoid robot torso": "ltorso mtorso utorso utorso_mod utorso_pack",
    },
}
_NAMES = {
    source: {stem: text for text, stems in table.items() for stem in stems.split()} for source, table in _TABLES.items()
}
# Hubo's parts are named by the joint that moves them: side, joint, axis.
_HUBO = {"A": "ankle", "E": "elbow", "F": "finger", "H": "hip", "K": "knee", "S": "shoulder", "W": "wrist"}
_ROBOTS = {"fetch": "mobile robot", "KR5": "industrial robot arm", "wam": "robot arm"}  # by folder


def name_of(source: str, hints: tuple[str, ...], name: str) -> str:
    """Returns what the mesh is called, '' if its name is no code that is known.

    Args:
        source: Key of SOURCES.
        hints: Folders, from general to special.
        name: File name without its ending.
    """
    if source == "warzone2100":
        return warzone_names.name_of("/".join(hints), name)
    names = _NAMES.get(source, {})
    found = names.get(name.lower()) or names.get(re.sub(r"\d+$", "*", name.lower()), "")
    if found or source != "dart":
        return found
    if "drchubo" in hints:
        code = name.removeprefix("convhull_").removesuffix("_merged")
        part = "torso" if code[:1] == "T" else "neck" if code[:1] == "N" else _HUBO.get(code[1:2], "")
        return f"humanoid robot {part}".strip()
    robot = next((text for folder, text in _ROBOTS.items() if folder in hints), "robot")
    words = re.sub(r"^[lr]_|wam\d?|link|collision|_", " ", name.lower()).split()
    return " ".join([robot, *(words or ["link"])])
