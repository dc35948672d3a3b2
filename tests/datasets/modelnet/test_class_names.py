"""The lists of class names: their sizes and order, which the labels rely on."""

from pointrecon.datasets.modelnet.class_names import MODELNET10, MODELNET40


def test_modelnet():
    assert len(set(MODELNET40)) == 40 and len(set(MODELNET10)) == 10
    assert list(MODELNET40) == sorted(MODELNET40) and list(MODELNET10) == sorted(MODELNET10)
    assert set(MODELNET10) < set(MODELNET40)
