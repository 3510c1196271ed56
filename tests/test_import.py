import pytest

HEAVY = ("keras", "tensorflow", "jax", "torch", "numpy", "matplotlib", "PIL")


@pytest.mark.parametrize("code", [
    "import kerazoo",
    "from kerazoo import resnet18, vgg16, lenet5_1998",
    "import kerazoo; kerazoo.list_models(); kerazoo.facts('resnet18'); help(kerazoo.resnet18)",
])
def test_naming_things_loads_nothing_heavy(run_python, code):
    result = run_python(f"{code}\nimport sys\nprint('HEAVY', [name for name in {HEAVY} if name in sys.modules])")
    assert result.stdout.splitlines()[-1] == "HEAVY []"


def test_every_public_name_resolves():
    import kerazoo

    for name in kerazoo.__all__:
        assert getattr(kerazoo, name) is not None
    assert set(kerazoo.__all__) <= set(dir(kerazoo))


def test_a_misspelled_name_is_answered_with_the_nearest():
    import kerazoo

    with pytest.raises(AttributeError, match="no 'resnet81'; did you mean resnet18"):
        kerazoo.resnet81
    with pytest.raises(ImportError, match="resnet81"):
        from kerazoo import resnet81  # noqa: F401


@pytest.mark.parametrize("room", ["analyze", "export"])
def test_a_room_that_is_called_like_its_function_is_both(run_python, room):
    code = f"import inspect, kerazoo.{room}; print(callable(kerazoo.{room}), inspect.signature(kerazoo.{room}))"
    assert run_python(code).stdout.startswith("True (model")
