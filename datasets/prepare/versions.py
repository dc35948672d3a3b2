"""Versions of the packages that the documented data set was made from (Debian 12)."""

VERSIONS: dict[str, str] = {
    "crrcsim-data": "0.9.13-3.2",
    "cube2-data": "1.3-1",
    "gl-117-data": "1.3.2-3.1",
    "kicad-packages3d": "6.0.10-1",
    "megaglest-data": "3.13.0-3",
    "minetest-mod-homedecor": "20210327.1-2",
    "minetest-mod-moreblocks": "2.2.0-1",
    "minetest-mod-pipeworks": "20210414.1-2",
    "neverball-common": "1.6.0+git20180603-3",
    "openarena-data": "0.8.5split-14",
    "opencity-data": "0.0.6.5stable-5",
    "redeclipse-data": "1.6.0-1",
    "stormbaancoureur-data": "2.1.6-3.1",
    "supertuxkart-data": "1.4+dfsg-2",
    "sweethome3d-furniture": "1.8-1",
    "torcs-data": "1.3.7+dfsg-5",
    "ufoai-data": "2.5-2",
    "warzone2100-data": "4.3.3-3",
}
