import pytest

import kerazoo


def test_models_are_listed_by_wildcard_and_family():
    assert kerazoo.list_models("vgg1?") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert kerazoo.list_models(family="lenet") == ["lenet5", "lenet5_1998"]
    assert kerazoo.list_models("*_bn", family="vgg") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert kerazoo.list_models("nothing*") == []


def test_numbers_in_names_sort_as_numbers():
    names = kerazoo.list_models("resnet*")
    assert names.index("resnet18") < names.index("resnet101") < names.index("resnet1202")


@pytest.mark.parametrize("call", [kerazoo.create_model, kerazoo.facts])
def test_an_unknown_model_suggests_the_nearest(call):
    with pytest.raises(ValueError, match="Unknown model 'resnet81'; did you mean .*resnet18"):
        call("resnet81")
    with pytest.raises(ValueError, match=r"Unknown model 7"):
        call(7)


def test_an_unknown_family_names_the_families():
    with pytest.raises(ValueError, match="Unknown family 'vggg'; did you mean vgg.*cifar_resnet"):
        kerazoo.list_models(family="vggg")


def test_a_model_built_by_name_takes_a_name_of_its_own():
    assert kerazoo.create_model("lenet5", name="digits").name == "digits"


def test_facts_name_their_source():
    for name in kerazoo.list_models():
        facts = kerazoo.facts(name)
        assert facts.source and facts.paper.startswith("https://"), name


def test_every_builder_of_the_package_is_in_the_table():
    import importlib
    import pkgutil

    import kerazoo.models

    built = set()
    for module in pkgutil.iter_modules(kerazoo.models.__path__):
        members = vars(importlib.import_module(f"kerazoo.models.{module.name}"))
        built |= {name for name, member in members.items() if hasattr(member, "min_size")}
    assert built == set(kerazoo.list_models())
