import inspect
import pathlib
import re

import pytest

import kerazoo
from kerazoo.weights import hub
from kerazoo.weights.tags import get_tag, is_tag, list_weights, table

TAGS = list(table().values())


def test_every_model_with_weights_has_one_default_and_it_comes_first():
    for model in {tag.model for tag in TAGS}:
        defaults = [tag.default for tag in TAGS if tag.model == model]
        assert defaults == [True] + [False] * (len(defaults) - 1), model
        assert get_tag(model) == get_tag(model, list_weights(model)[0])


def test_every_model_with_weights_is_a_model():
    assert {tag.model for tag in TAGS} <= set(kerazoo.list_models())


def test_only_these_models_of_imagenet_have_no_weights():
    without = [name for name in kerazoo.list_models() if kerazoo.facts(name).dataset.startswith("ImageNet")
               and not list_weights(name)]
    assert sorted(without) == [
        "alexnet_2012", "googlenet", "resnet152_v2", "resnet18_v2", "resnet34_v2",
    ]


def test_names_are_what_a_user_writes():
    assert list_weights("resnet101_v2") == ["imagenet/a1h_in1k"]
    assert list_weights("resnet50")[:2] == ["imagenet/tv2_in1k", "imagenet/tv_in1k"]
    assert list_weights("lenet5") == []
    for model, tag in table():
        assert get_tag(model, f"imagenet/{tag}").name == f"imagenet/{tag}" in list_weights(model)


@pytest.mark.parametrize("model, default", [
    ("resnet18", "tv_in1k"), ("resnet50", "tv2_in1k"), ("efficientnet_b1", "tv2_in1k"), ("googlenet_bn", "tv_in1k"),
    ("tf_efficientnet_b5", "in1k"), ("tf_efficientnet_b7", "aa_in1k"), ("tf_inception_v3", "keras_in1k"),
    ("resnet50_v1", "keras_in1k"), ("tf_resnet152_v2", "keras_in1k"), ("resnet50_v2", "a1h_in1k"),
    ("efficientnet_lite0", "in1k"),
])
def test_the_default_is_whose_the_model_is(model, default):
    assert get_tag(model).tag == default


def test_a_file_has_one_address_and_what_to_check_it_by():
    for tag in TAGS:
        if tag.repo:
            # The Hub announces the digest itself.
            assert not tag.url and tag.repo.startswith("timm/") and tag.file == "model.safetensors"
        else:
            assert tag.url.startswith("https://") and not tag.file
            assert re.fullmatch("sha256:[0-9a-f]{8}|md5:[0-9a-f]{32}", tag.hash), tag
        if tag.layout == "torchvision":
            assert tag.url.endswith(f"-{tag.hash[7:]}.pth")


def test_no_two_tags_share_a_place_in_the_cache():
    assert len({hub.location(tag) for tag in TAGS}) == len(TAGS)


def test_every_tag_says_how_images_are_prepared():
    for tag in TAGS:
        assert len(tag.mean) == len(tag.std) == 3 and all(0 < value < 1 for value in tag.mean + tag.std)
        assert tag.layout in ("torchvision", "timm", "keras_applications") and tag.license and tag.source
        assert tag.classes == 1000 and 160 <= tag.input_size <= 600
        if tag.layout == "keras_applications":
            assert tag.resize_size is tag.interpolation is tag.antialias is None  # No source says.
        else:
            assert tag.input_size <= tag.resize_size <= 1.2 * tag.input_size and tag.antialias
            assert tag.interpolation in ("bilinear", "bicubic")


def test_weights_trained_on_blue_first_have_the_means_of_their_pixels():
    blue_first = [tag for tag in TAGS if tag.bgr]
    assert {tag.model for tag in blue_first} == {"vgg16", "vgg19", "resnet50_v1", "resnet101_v1", "resnet152_v1"}
    for tag in blue_first:
        assert [255 * mean for mean in tag.mean] == pytest.approx([123.68, 116.779, 103.939], abs=1e-6)
        assert [255 * std for std in tag.std] == pytest.approx([1, 1, 1], abs=1e-6)


def test_files_say_whether_they_hold_auxiliary_heads():
    having = {(tag.model, tag.tag) for tag in TAGS if tag.aux_heads}
    assert having == {("googlenet_bn", "tv_in1k"), ("inception_v3", "tv_in1k")}
    for tag in TAGS:
        has_option = "aux_heads" in inspect.signature(getattr(kerazoo, tag.model)).parameters
        assert (tag.aux_heads is not None) == has_option, tag


@pytest.mark.parametrize("model", ["googlenet_bn", "inception_v3"])
def test_what_torchvisions_code_normalizes_anew_is_written_as_it_is_in_effect(model):
    import numpy as np

    # Both models' code turns pixels that were normalized as ever into what the weights were trained on.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = np.random.default_rng(0).random((8, 3))
    anew = (pixels - mean) / std * (std / 0.5) + (mean - 0.5) / 0.5
    tag = get_tag(model, "imagenet/tv_in1k")
    np.testing.assert_allclose((pixels - np.array(tag.mean)) / np.array(tag.std), anew, atol=1e-12)


def test_accuracies_are_percentages_and_known_but_for_these():
    unknown = {(tag.model, tag.tag) for tag in TAGS if tag.top1 is None}
    assert unknown == {(f"tf_efficientnet_b{n}", "keras_in1k") for n in range(8)} | {
        ("resnext101_32x8d", "fb_swsl_ig1b_ft_in1k")}
    for tag in TAGS:
        assert (tag.top1 is None) == (tag.top5 is None)
        assert tag.top1 is None or 56 < tag.top1 < tag.top5 < 99


def test_accuracies_agree_with_the_table_of_models():
    # published.csv quotes torchvision's figures; a typing error in either shows here.
    compared = 0
    for tag in TAGS:
        facts = kerazoo.facts(tag.model)
        if tag.layout == "torchvision" and f"{tag.source.split()[-1]} " in f"{facts.source} ":
            assert (tag.top1, tag.top5) == (facts.top1, facts.top5), tag
            compared += 1
    assert compared >= 5


def test_published_weights_are_told_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_tag("imagenet") and is_tag("imagenet/tv_in1k") and is_tag(pathlib.PurePosixPath("imagenet/tv_in1k"))
    for path in "resnet18.pth", "./imagenet", "/imagenet/tv_in1k", "imagenet.pth", "weights/imagenet", tmp_path:
        assert not is_tag(path), path
    # The data set may well lie here; a file of that name is meant.
    (tmp_path / "imagenet").mkdir()
    assert is_tag("imagenet")
    (tmp_path / "imagenet" / "mine").write_text("")
    assert is_tag("imagenet/tv_in1k") and not is_tag("imagenet/mine")


def test_a_tag_may_be_a_path():
    assert get_tag("resnet50", pathlib.Path("imagenet")) == get_tag("resnet50")
    assert get_tag("resnet50", pathlib.PurePosixPath("imagenet/tv_in1k")).tag == "tv_in1k"


def test_a_misspelled_tag_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Unknown weights .*a1h' for resnet101; did you mean imagenet/a1h_in1k"):
        get_tag("resnet101", "imagenet/a1h")
    with pytest.raises(ValueError, match="Unknown weights 'tv_in1k' for vgg16; did you mean imagenet/tv_in1k"):
        get_tag("vgg16", "tv_in1k")
    with pytest.raises(ValueError, match="vgg16 has: imagenet, imagenet/tv_in1k, imagenet/keras_in1k"):
        get_tag("vgg16", 7)


def test_a_model_without_weights_says_so():
    with pytest.raises(ValueError, match="No weights are published for googlenet; did you mean googlenet_bn"):
        get_tag("googlenet")
    with pytest.raises(ValueError, match="No weights are published for lenet5.*weights=None"):
        get_tag("lenet5")


@pytest.mark.parametrize("call", [list_weights, get_tag])
def test_an_unknown_model_suggests_the_nearest(call):
    with pytest.raises(ValueError, match="Unknown model 'resnet81'; did you mean .*resnet18"):
        call("resnet81")


def test_the_table_is_read_without_keras(run_python):
    code = """
import sys
from kerazoo.weights import tags
tags.get_tag("resnet18")
print([name for name in ("keras", "tensorflow", "torch", "jax") if name in sys.modules])
"""
    assert run_python(code).stdout.strip() == "[]"
