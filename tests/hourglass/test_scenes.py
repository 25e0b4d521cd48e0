"""Scenes show people where their labels say, hide what they say is hidden, and follow from seed and step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hourglass.augment import AUGMENTATIONS
from hourglass.data import read_photos
from hourglass.scene_samples import SceneSamples, collated
from hourglass.scenes import Composer, Model, Scene, SceneConfig, _Person, body_mask, painted_over
from pipeline.crop import region_of
from pipeline.errors import DataError
from pipeline.skeleton import LSP14
from tests.hourglass.photos import simple_set, standing, write_lspet

EVERY = np.ones(14, bool)
PERSON = standing(60, 60, 90)
PLAIN = SceneConfig(rotation_deg=0, decoys=0, empty=0, painted_over=1, augment=AUGMENTATIONS["none"])


def white_person(body: int = 255, ground: int = 0) -> Model:
    """A photo (120, 120) whose body is of one grey, and all else of another."""
    image = np.full((120, 120, 3), ground, np.uint8)
    image[body_mask((120, 120), PERSON, EVERY) > 127] = body
    return Model.of(image, PERSON, EVERY)


def compose(config: SceneConfig, seed: int, model: Model, size: tuple[int, int] = (200, 160)) -> Scene:
    return Composer(np.random.default_rng(seed), size, [model], config=config).scene()


def test_the_mask_covers_the_body_and_little_else():
    mask = body_mask((120, 120), PERSON, EVERY)
    for edge in LSP14.edges:
        for part in (0, 0.5, 1):
            x, y = (PERSON[edge[0]] * part + PERSON[edge[1]] * (1 - part)).round().astype(int)
            assert mask[y, x] > 127
    assert 0.08 < (mask > 127).mean() < 0.3
    assert not mask[:, :10].any()
    few = EVERY & (np.arange(14) > 11)  # neck and head only
    assert 0 < (body_mask((120, 120), PERSON, few) > 127).sum() < 0.2 * (mask > 127).sum()


def test_who_is_painted_over_is_gone_and_the_rest_stays():
    model = white_person(ground=60)
    painted = painted_over(model.image, model.mask)
    assert painted.max() < 75
    assert painted.min() == 60
    assert (painted[:, :8] == model.image[:, :8]).all()


@pytest.mark.parametrize("seed", range(30))
def test_people_are_where_the_labels_say(seed):
    config = replace(PLAIN, people=1, largest=0.8)
    scene = compose(config, seed, white_person())
    bright = np.argwhere(scene.image[..., 0] > 128)[:, ::-1]
    if not scene.labelled.any():
        assert len(bright) < 3000
        return
    ((x, y, side),) = scene.people
    assert len(bright)
    seen = region_of(bright.astype(float), margin=1.0)
    # limbs are thicker than joints: the region is 1.25 times the joints
    assert max(abs(seen.x - x), abs(seen.y - y)) < 0.08 * side + 1
    assert 0.75 * side - 2 < seen.side < side + 2


def test_a_background_person_is_labelled_where_the_photo_went():
    for seed in range(20):
        config = replace(PLAIN, people=0, painted_over=0, grids=(1.0,))
        scene = compose(config, seed, white_person())
        bright = np.argwhere(scene.image[..., 0] > 128)[:, ::-1]
        ((x, y, side),) = scene.people
        low, high = bright.min(0), bright.max(0)
        assert np.all(low < (x, y))
        assert np.all(high > (x, y))
        assert (high - low).max() > 0.7 * side


@pytest.mark.parametrize(
    ("shift", "covered", "expected"),
    [(0, 0, True), (0, 7, True), (0, 9, False), (-60, 0, True), (-85, 0, False), (-200, 0, None)],
)
def test_who_counts(shift, covered, expected):
    hidden = np.arange(14) < covered
    label = _Person(np.add(PERSON, (0, shift)), (0, 0, 120, 120), hidden).label()
    if expected is None:
        assert label is None
        return
    assert label is not None
    region, found = label
    assert found is expected
    # what is cut off does not count for place and size
    low, high = (np.add(PERSON, (0, shift))).clip(0, 119).min(0), (np.add(PERSON, (0, shift))).clip(0, 119).max(0)
    np.testing.assert_allclose((region.x, region.y), (low + high) / 2)
    assert region.side == pytest.approx(1.25 * (high - low).max())


def test_who_stands_behind_is_covered():
    composer = Composer(np.random.default_rng(0), (120, 120), [white_person()], config=PLAIN)
    composer.people.append(_Person(PERSON, (0, 0, 120, 120), np.zeros(14, bool)))
    composer._place = lambda _side: np.array([60.0, 60.0])  # type: ignore[method-assign]
    composer._paste(white_person(), white_person().region.side, decoy=False)
    behind, before = composer.people
    assert behind.covered.all()
    assert not before.covered.any()
    label = behind.label()
    assert label is not None
    assert label[1] is False


def test_decoys_show_nobody():
    config = replace(PLAIN, people=0, decoys=1.0)
    for seed in range(5):
        scene = compose(config, seed, white_person(ground=60))
        assert not len(scene.people)
        assert scene.image.max() < 120  # recoloured at most


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return read_photos(f"lspet:{simple_set(tmp_path_factory.mktemp('photos'), 6)}")


def samples(photos, **changes):
    wanted = {"longer": 128, "multiple": 32, "smallest": 10.0, "batch": 3, "seed": 4, **changes}
    return SceneSamples([photos], SceneConfig(), **wanted)


def test_a_batch_follows_from_seed_and_step(photos):
    first, second = samples(photos), samples(photos)
    _ = second[0], second[1]
    for one, two in zip(first[7], second[7], strict=True):
        assert torch.equal(one, two)
    assert first[7][0].shape != first[8][0].shape or not torch.equal(first[7][0], first[8][0])
    assert not np.array_equal(first[7][1], samples(photos, seed=5)[7][1])


def test_workers_compose_the_same(photos):
    alone = list(samples(photos).from_step(3, 5, workers=0, pin=False))
    helped = list(samples(photos).from_step(3, 5, workers=1, pin=False))
    assert len(alone) == len(helped) == 2
    for one, two in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_scenes_are_of_all_shapes_and_black_beside_the_frame(photos):
    shapes, narrower = set(), 0
    for step in range(30):
        images, people, labelled, ignored = samples(photos)[step]
        shapes.add(tuple(images.shape[1:3]))
        assert max(images.shape[1:3]) == 128
        assert people.shape == (*labelled.shape, 3)
        assert not (labelled & ignored).any()
        narrower += int((images.flatten(1, 1)[:, -1].flatten(1) == 0).all(1).sum())
    assert shapes == {(64, 128), (96, 128), (128, 128), (128, 64), (128, 96)} or len(shapes) >= 4
    assert narrower


def test_who_is_too_small_is_ignored(photos):
    _, people, labelled, ignored = samples(photos, smallest=40.0, batch=20)[0]
    assert labelled.any()
    assert ignored.any()
    assert (people[labelled][:, 2] >= 40).all()
    loose = samples(photos, smallest=0.0, batch=20)[0]
    assert torch.equal(loose[2] | loose[3], labelled | ignored)
    assert (loose[1][loose[2] & ignored][:, 2] < 40).all()


def test_scenes_of_different_people_share_a_batch():
    image = np.zeros((8, 8, 3), np.uint8)
    many = Scene(image, np.array([(1, 2, 3), (4, 5, 6)], np.float32), np.array([True, False]))
    none = Scene(image, np.zeros((0, 3), np.float32), np.zeros(0, bool))
    images, people, labelled, ignored = collated([none, many])
    assert images.shape == (2, 8, 8, 3)
    assert people[1].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert labelled.tolist() == [[False, False], [True, False]]
    assert ignored.tolist() == [[False, False], [False, True]]
    assert collated([none])[1].shape == (1, 1, 3)


def test_a_photo_that_cannot_be_read_is_named_once_and_left_out(tmp_path, caplog):
    photos = read_photos(f"lspet:{simple_set(tmp_path, 3)}")
    photos.files[1].write_bytes(photos.files[1].read_bytes()[:100])
    found = samples(photos)
    _ = found[0], found[1]
    assert [message for message in caplog.messages if "left out of training" in message] == [
        f"{photos.files[1]}: damaged or cut short; unpack the data set again (left out of training)"
    ]


def test_no_photo_can_be_read(tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path, 2)}")
    for path in photos.files:
        path.unlink()
    with pytest.raises(DataError, match="hardly any photo can be read; unpack the data set again"):
        _ = samples(photos)[0]


def test_no_photo_shows_a_whole_person(tmp_path):
    few = np.zeros((3, 14), bool)
    few[:, :9] = True
    photos = read_photos(f"lspet:{write_lspet(tmp_path, np.stack([standing(32, 32, 40)] * 3), few)}")
    with pytest.raises(DataError, match="lspet: no photo with 10 labelled joints to compose scenes from"):
        samples(photos)


def test_tiny_photos_and_frames(tmp_path):
    image = np.full((3, 2, 3), 9, np.uint8)
    xy = np.random.default_rng(1).uniform(0, 2, (14, 2)).astype(np.float32)
    for seed in range(10):
        scene = compose(SceneConfig(), seed, Model.of(image, xy, EVERY), (64, 40))
        assert scene.image.shape == (40, 64, 3)
