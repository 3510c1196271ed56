"""What the policies draw, and how often: plans over many images, no pixels."""

import keras
import numpy as np
import pytest

from kerazoo.augment import augmix, policies
from kerazoo.augment.augmix import AugMix
from kerazoo.augment.policies import AutoAugment, RandAugment, TrivialAugment

MANY = 100_000
SIZE = (40, 56, 3)


def planned(layer, seed=(3, 4), many=MANY):
    (step,) = layer.plan(keras.ops.convert_to_tensor(np.array(seed, "int32")), many, *SIZE)
    params = {name: keras.ops.convert_to_numpy(value) for name, value in step.params.items()}
    return step.primitives, None if step.choice is None else keras.ops.convert_to_numpy(step.choice), params


def keys(choice, params):
    """One row of numbers for each image and round: what tells one drawn operation, strength and sign from another."""
    parts = [value.reshape(*choice.shape, -1) for _, value in sorted(params.items())]
    return np.concatenate([choice[..., None], *parts], axis=-1).astype("float64")


def counted(layer):
    """How often each row of the layer's table was drawn, (rounds, rows), rows that are alike counted as one; and how
    many rows each of them stands for."""
    _, choice, params = planned(layer)
    rows = keras.ops.reshape(keras.ops.arange(len(layer.table), dtype="int32"), (-1, 1))
    step = layer.table.step(rows, *SIZE[:2])
    each = keys(*(keras.tree.map_structure(keras.ops.convert_to_numpy, x) for x in (step.choice, step.params)))[:, 0]
    kinds, weight = np.unique(each, axis=0, return_counts=True)
    drawn = keys(choice, params)
    found = []
    for k in range(choice.shape[1]):
        unique, numbers = np.unique(drawn[:, k], axis=0, return_counts=True)
        at = {tuple(kind): i for i, kind in enumerate(kinds)}
        counts = np.zeros(len(kinds), int)
        for kind, number in zip(unique, numbers):
            counts[at[tuple(kind)]] = number
        found.append(counts)
    return np.stack(found), weight


def chi_square(counts, expected):
    """The statistic, less what it may be (0.1 %, by Wilson and Hilferty's approximation): below 0 is well."""
    degrees = len(counts) - 1
    limit = degrees * (1 - 2 / (9 * degrees) + 3.09 * np.sqrt(2 / (9 * degrees))) ** 3
    return (((counts - expected) ** 2) / expected).sum() - limit


@pytest.mark.parametrize(
    "layer",
    [
        RandAugment(3, 9),
        RandAugment(2, 7, operations="increasing"),
        RandAugment(1, 5, operations=["rotate", "equalize", "invert", "rotate"]),
        TrivialAugment(),
    ],
    ids=["standard", "increasing", "list", "trivial"],
)
def test_every_operation_strength_and_sign_is_as_frequent_as_any_other(layer):
    counts, weight = counted(layer)
    assert counts.sum(axis=1).tolist() == [MANY] * len(counts)
    for one in counts:
        assert chi_square(one, MANY * weight / weight.sum()) < 0


def test_rounds_and_neighboring_images_are_independent():
    layer = RandAugment(3, 9)
    _, choice, params = planned(layer)
    _, index = np.unique(keys(choice, params).reshape(-1, 1 + sum(v[0, 0].size for v in params.values())), axis=0,
                         return_inverse=True)  # fmt: skip
    index = index.reshape(choice.shape)
    n = index.max() + 1
    assert n == 23  # 9 with two signs, 5 without
    share = np.bincount(index.reshape(-1), minlength=n) / index.size
    pairs = [(index[:, 0], index[:, 1]), (index[:, 1], index[:, 2]), (index[:-1, 0], index[1:, 0]),
             (index[:-1, 1], index[1:, 1]), (index[:-1, 2], index[1:, 0])]  # fmt: skip
    for first, second in pairs:
        together = np.bincount(first * n + second, minlength=n * n)
        assert chi_square(together, len(first) * np.outer(share, share).reshape(-1)) < 0


def test_seeds_differ():
    first, second = (planned(RandAugment(2, 9), seed, 1000)[1] for seed in ((1, 2), (1, 3)))
    assert 0.1 < (first == second).mean() < 0.3  # 5 of 14 are warps


def test_probability_decides_about_each_round():
    _, choice, _ = planned(RandAugment(2, 9, probability=0.3, operations=["invert", "equalize"]))
    applied = choice > 0
    assert np.abs(applied.mean(axis=0) - 0.3).max() < 0.006  # four standard deviations
    assert abs((applied[:, 0] & applied[:, 1]).mean() - 0.09) < 0.004
    assert abs((choice == 1).sum() / applied.sum() - 0.5) < 0.01
    assert RandAugment(probability=0.0).plan(None, 3, *SIZE) == []


def test_magnitude_std_is_a_clipped_normal_distribution_for_each_image_and_round():
    layer = RandAugment(2, 9, magnitude_std=3.0, operations=["brightness"])
    _, _, params = planned(layer)
    magnitude = np.abs(params["factor"] - 1) / 0.9 * 30
    assert np.abs(magnitude.mean(axis=0) - 9).max() < 0.05 and np.abs(magnitude.std(axis=0) - 3).max() < 0.05
    assert abs(np.corrcoef(magnitude.T)[0, 1]) < 0.015
    assert abs(np.corrcoef(magnitude[:-1, 0], magnitude[1:, 0])[0, 1]) < 0.015
    _, _, params = planned(RandAugment(1, 29, magnitude_std=3.0, operations=["brightness"]))
    magnitude = np.abs(params["factor"] - 1) / 0.9 * 30
    assert abs((magnitude > 29.999).mean() - 0.3694) < 0.01 and magnitude.max() < 30.001  # 1 - Phi(1 / 3)


def test_each_built_in_policy_draws_its_operations_as_often_as_it_says():
    for name, policy in policies.POLICIES.items():
        layer = AutoAugment(name)
        primitives, choice, _ = planned(layer)
        for k in range(2):
            expected = np.zeros(len(primitives))
            for row in policy:
                one, probability, _ = row[k]
                kind = policies.KNOWN[one].primitive
                at = next(i for i, p in enumerate(primitives) if p == kind or type(p) is kind)
                expected[at] += probability / 25
                expected[0] += (1 - probability) / 25
            counts = np.bincount(choice[:, k], minlength=len(primitives))
            assert (counts[expected == 0] == 0).all()
            assert chi_square(counts[expected > 0], MANY * expected[expected > 0]) < 0, (name, k)


def test_an_own_policy_draws_one_row_and_each_of_its_operations_by_itself():
    layer = AutoAugment(
        [[("rotate", 0.3, 5), ("invert", 0.7, None), ("solarize_add", 1, 4)], [("equalize", 0.6, None)]]
    )
    primitives, choice, params = planned(layer)
    names = [type(primitive).__name__ for primitive in primitives]
    picked = np.array(names)[choice]
    first = picked[:, 2] == "SolarizeAdd"
    assert abs(first.mean() - 0.5) < 0.007
    assert set(picked[first, 0]) == {"Warp", "Identity"} and set(picked[~first, 0]) == {"Equalize", "Identity"}
    warped, inverted = picked[first, 0] == "Warp", picked[first, 1] == "Invert"
    assert abs(warped.mean() - 0.3) < 0.01 and abs(inverted.mean() - 0.7) < 0.01
    assert abs((warped & inverted).mean() - 0.21) < 0.01
    assert abs((picked[~first, 0] == "Equalize").mean() - 0.6) < 0.01 and (picked[~first, 1:] == "Identity").all()
    right = params["matrix"][first, 0, 0, 1][warped] > 0
    assert abs(right.mean() - 0.5) < 0.02
    assert set(params["addition"][first, 2].tolist()) == {48.0}  # int(4 / 9 * 110)


@pytest.mark.parametrize("alpha, width", [(1.0, 3), (0.3, 4), (4.0, 2), (1.0, 1)])
def test_augmix_draws_dirichlet_and_beta(alpha, width):
    stats = pytest.importorskip("scipy.stats", reason="SciPy has the distributions to compare with")
    _, _, params = planned(AugMix(width=width, alpha=alpha))
    shares = params["shares"][:, 0].astype("float64")
    assert shares.shape == (MANY, 1 + width) and shares.min() >= 0
    np.testing.assert_array_equal(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(shares * 4096, np.round(shares * 4096))
    limit = 1.95 / np.sqrt(MANY) + 3 / 4096  # Kolmogorov-Smirnov at 0.1 %, and the grain of the shares
    if alpha == 0.3:  # the mass within a grain of the ends
        limit += stats.beta.cdf(3 / 4096, alpha, alpha)
    assert stats.kstest(1 - shares[:, 0], stats.beta(alpha, alpha).cdf).statistic < limit
    if width > 1:
        whole = shares[:, 0] < 0.9
        parts = shares[whole, 1:] / (1 - shares[whole, :1])
        limit = 1.95 / np.sqrt(whole.sum()) + (0.01 if alpha >= 1 else 0.1)
        for part in parts.T:
            assert stats.kstest(part, stats.beta(alpha, (width - 1) * alpha).cdf).statistic < limit
        np.testing.assert_allclose(parts.mean(axis=0), 1 / width, atol=0.005)
        expected = -1 / (width - 1)  # of any two shares of a symmetric Dirichlet distribution
        np.testing.assert_allclose(np.corrcoef(parts.T)[0, 1:], expected, atol=0.02)


def test_augmix_draws_depths_operations_and_signs():
    layer = AugMix(width=2)
    _, _, params = planned(layer)
    choice = params["choice"][:, 0]
    assert choice.shape == (MANY, 2, 3)
    depth = (choice > 0).sum(axis=-1)
    assert (choice[..., 0] > 0).all() and (np.sort(choice > 0, axis=-1)[..., ::-1] == (choice > 0)).all()
    for chain in range(2):
        assert chi_square(np.bincount(depth[:, chain])[1:], MANY / 3) < 0
    counts = np.bincount(choice[..., 0].reshape(-1))[1:]  # 5 of the 9 operations are warps
    assert chi_square(np.sort(counts), 2 * MANY * np.array([1, 1, 1, 1, 5]) / 9) < 0
    slants = params["matrix"][:, 0, :, 0, 0, 1].reshape(-1)
    assert abs((slants > 0).sum() / (slants != 0).sum() - 0.5) < 0.01
    choice = planned(AugMix(depth=2), many=100)[2]["choice"]
    assert choice.shape == (100, 1, 3, 2) and (choice > 0).all()


def test_quantiles_of_beta():
    stats = pytest.importorskip("scipy.stats", reason="SciPy has the distribution to compare with")
    probabilities = (np.arange(4096) + 0.5) / 4096
    for a, b in ((1, 1), (1, 2), (0.1, 0.1), (0.1, 0.9), (0.5, 3), (5, 10), (100, 200)):
        error = np.abs(augmix.beta_quantiles(a, b) - stats.beta.ppf(probabilities, a, b))
        assert error.max() < 0.51 / 4096, (a, b)
