from __future__ import annotations

import pytest

from atlassegfm.io.dicom import anatomy
from atlassegfm.io.dicom.anatomy import anatomy_of


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("liver", "10200004", None),
        ("Kidney_L", "64033007", "Left"),
        ("left kidney", "64033007", "Left"),
        ("KidneyRight", "64033007", "Right"),
        ("Lungs", "39607008", None),
        ("Lung_RT", "39607008", "Right"),
        ("Left Ventricle", "87878005", None),
        ("LV", "91723000", None),
        ("SpinalCord", "2748008", None),
        ("inferior vena cava", "64131007", None),
        ("GTV-1", "91723000", None),
        ("kidney cyst", "91723000", None),
        ("kidney left right", "91723000", None),
        ("tumour", "108369006", None),
        ("", "91723000", None),
    ],
)
def test_names_and_codes(name, code, side):
    found = anatomy_of(name)
    assert (found.kind.value, found.kind.scheme_designator) == (code, "SCT")
    assert (found.side.meaning if found.side else None) == side
    assert found.known == (code != "91723000")


def test_every_known_name_is_in_the_dictionary():
    for name in anatomy._KNOWN:
        assert anatomy_of(name).known, name
