"""Licences: the last paragraph that fits holds, on the path or on what is left of it without leading folders."""

from pointrecon.tools.debshapes.sources.copyrights import UNKNOWN, licence_of

TEXT = """Files: *
Copyright: © 2001-2008, The Team (<http://a.org>)
           2012 claude d'Arc <c@d.e>
License: GPL-2+

Files: models/* other/x.obj
Copyright: (c) 2010 Someone
License: CC-BY-3.0

Files: models/late.obj
Copyright: Else
License: CC0
"""


def test_last_fitting_paragraph_holds(tmp_path):
    path = tmp_path / "usr/share/doc/p/copyright"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT, encoding="utf-8")
    assert licence_of(tmp_path, "p", "usr/share/p/a.obj") == ("GPL-2+", "The Team; claude d'Arc")
    assert licence_of(tmp_path, "p", "usr/share/p/models/sub/a.obj") == ("CC-BY-3.0", "Someone")
    assert licence_of(tmp_path, "p", "usr/share/p/other/x.obj")[0] == "CC-BY-3.0"
    assert licence_of(tmp_path, "p", "usr/share/p/models/late.obj") == ("CC0", "Else")


def test_package_without_the_file_is_unknown(tmp_path):
    assert licence_of(tmp_path, "p", "usr/a") == UNKNOWN
