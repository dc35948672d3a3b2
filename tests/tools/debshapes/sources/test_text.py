"""Names: words out of file names, families out of sizes."""

import pytest

from pointrecon.tools.debshapes.sources.sources import Item
from pointrecon.tools.debshapes.sources.text import family_of, split_name, text_of

KICAD = "usr/share/kicad/3dmodels"


def item(source, path, name=None, hints=()):
    return Item(source, "package", "1", path, name or path.rpartition("/")[2].rpartition(".")[0], hints)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("oldHouse_2b", ["old", "house"]),
        ("tree9", ["tree"]),
        ("wheel-front-left", ["wheel", "front", "left"]),
        ("ATMMachine", ["atm", "machine"]),
        ("Coffee maker", ["coffee", "maker"]),
        ("TV", ["tv"]),
        ("Écran d'ordinateur", ["écran", "d'ordinateur"]),
        ("12_34", []),
    ],
)
def test_splits_names(name, words):
    assert split_name(name) == words


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Connector_PinHeader_2.54mm.3dshapes/PinHeader_1x04_P2.54mm_Vertical.wrl", "pin header 4 pins vertical"),
        (
            "Connector_PinSocket_1.27mm.3dshapes/PinSocket_2x10_P1.27mm_Horizontal.wrl",
            "pin socket 20 pins horizontal",
        ),
        ("Capacitor_SMD.3dshapes/C_0402_1005Metric.wrl", "capacitor surface mount"),
        ("Package_SO.3dshapes/SOIC-8_3.9x4.9mm_P1.27mm.wrl", "small outline chip 8 pins"),
        ("Package_TO_SOT_THT.3dshapes/TO-220-3_Vertical.wrl", "to-220 transistor vertical through hole"),
        ("Battery.3dshapes/BatteryHolder_Keystone_1042_1x18650.wrl", "battery holder"),
        ("Something_New.3dshapes/X_1.wrl", "something new"),
    ],
)
def test_kicad_folders_say_what_a_part_is(path, text):
    assert text_of(item("kicad", f"{KICAD}/{path}")) == text


def test_a_name_that_says_nothing_gives_way_to_its_folder():
    path = "games/redeclipse/data/models/barrel/tris.obj"
    assert text_of(item("redeclipse", path, hints=("models", "barrel"))) == "barrel"
    assert text_of(item("city", "school/large/large.ac", hints=("school", "large"))) == "large school"
    assert text_of(item("stk", "karts/amanda/amanda.spm", hints=("karts", "amanda"))) == "amanda kart"
    assert text_of(item("stk", "karts/a/kart_body.spm", hints=("karts", "a"))) == "kart", "no word twice"
    assert text_of(item("nothing", "1/2.obj")) == "nothing", "a text is never empty"
    assert text_of(item("crrcsim", "objects/k2.ac")) == "model aircraft"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("structural/hele_ho_a", "hellenic house"),
        ("structural/rome_fc", "roman farmstead"),
        ("structural/hele_sb1", "hellenic building"),
        ("structural/cart_cenotaph", "carthaginian cenotaph"),
        ("structural/mace_siege_ram", "macedonian siege ram"),
        ("props/maur_spiked_mace", "mauryan spiked mace"),
        ("props/hay_cart_large", "hay cart large"),
        ("props/helmet/celt_agris", "celtic agris helmet"),
        ("props/helmet/head_indian_1", "head indian"),
        ("props/weapons/sword/weap_han_sword_01", "han chinese sword"),
        ("gaia/wrld_rock_1", "rock"),
        ("gaia/pine10", "pine tree"),
        ("gaia/bush_med_a", "bush medium"),
        ("gaia/trees/trunks/acacia_01", "acacia tree bare"),
        ("skeletal/new/f_tunic_short", "headless woman tunic short"),
    ],
)
def test_abbreviations_of_0ad_become_words(path, text):
    folders = tuple(path.split("/")[:-1])
    thing = item("0ad", f"public.zip#art/meshes/{path}.dae.cached.pmd", path.rpartition("/")[2], folders)
    assert text_of(thing) == text


def test_a_catalogue_is_taken_at_its_word():
    path = "furniture/Scopia.sh3f#Scopia#apple_pc"
    assert text_of(item("sweethome3d", path, "Apple  iMac 2004", ("Computer", "Desktop"))) == "apple imac 2004"


def test_a_family_is_the_folder_and_the_name_without_numbers():
    def family(name, folder="Connector_PinHeader_2.54mm.3dshapes"):
        return family_of(item("kicad", f"{KICAD}/{folder}/{name}.wrl"))

    first = family("PinHeader_1x04_P2.54mm_Vertical")
    assert first == family("PinHeader_2x40_P2.54mm_Vertical")
    assert first != family("PinHeader_1x04_P2.54mm_Horizontal")
    assert first != family("PinHeader_1x04_P2.54mm_Vertical", "Other.3dshapes")
    assert first != family_of(item("etw", f"{KICAD}/Connector/PinHeader_1x04_P2.54mm_Vertical.wrl"))


def test_objects_of_one_archive_are_families_of_their_own():
    names = [f"furniture/A.sh3f#blend/{name}/{name}.obj" for name in ("sofa", "lamp", "lamp2")]
    sofa, lamp, other = (family_of(item("sweethome3d", name)) for name in names)
    assert sofa != lamp
    assert lamp != other, "each has a folder of its own"
