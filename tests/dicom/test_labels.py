"""RTSTRUCT and DICOM segmentations as labels: names, holes, planes, overlaps, references."""

from __future__ import annotations

import shutil

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from atlassegfm.atlas import Atlas
from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io import read_image, read_labels, write_image
from atlassegfm.io.dicom import find_labels
from dicom_files import noise, slanted, uid, write_series, write_structures

SHAPE = (40, 36, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A series on an oblique grid."""
    path = tmp_path_factory.mktemp("atlas") / "ct"
    write_series(path, noise(SHAPE), slanted())
    return path


@pytest.fixture(scope="module")
def image(folder):
    return read_image(folder)


def box(grid, low, high, k):
    """A rectangle on slice `k` whose border runs between voxels, world points."""
    (i0, j0), (i1, j1) = low, high
    corners = [(i0 - 0.5, j0 - 0.5), (i1 + 0.5, j0 - 0.5), (i1 + 0.5, j1 + 0.5), (i0 - 0.5, j1 + 0.5)]
    return grid.to_world([(*corner, k) for corner in corners])


def test_names_colours_values_and_place(tmp_path, folder, image):
    structures = {
        "Kidney_L": [box(image.grid, (3, 4), (9, 12), k) for k in range(2, 6)],
        "Ünïcode (r)": [box(image.grid, (20, 20), (30, 30), k) for k in range(8, 14)],
    }
    path = write_structures(tmp_path / "rs.dcm", structures)
    expected = np.zeros(SHAPE, np.uint8)
    expected[3:10, 4:13, 2:6], expected[20:31, 20:31, 8:14] = 1, 2
    atlas = Atlas.load(folder, path)
    assert np.array_equal(atlas.labels.data, expected)
    assert atlas.names == {1: "Kidney_L", 2: "Ünïcode (r)"}
    assert atlas.colours == {1: (10, 200, 30), 2: (20, 200, 30)}
    assert atlas.notices == []


def test_rois_are_chosen_by_name(tmp_path, folder, image):
    names = ("Heart", "heart", "Lung_L")
    drawn = {name: [box(image.grid, (2, 2), (8, 8), k)] for k, name in enumerate(names)}
    path = write_structures(tmp_path / "rs.dcm", drawn)
    assert Atlas.load(folder, path, rois=["lung_l", "Heart"]).names == {1: "Heart", 3: "Lung_L"}
    assert set(read_labels(path, image=image, rois=["Lung_L"]).meta["label_names"].values()) == {"Lung_L"}
    assert set(read_labels(path, image=image, rois=["HEART"]).meta["label_names"].values()) == {"Heart", "heart"}
    with pytest.raises(InputError, match=r"'Liver'.*Heart, heart, Lung_L"):
        read_labels(path, image=image, rois=["Liver"])


def test_rois_choose_by_name_in_other_formats_too(tmp_path, image, folder):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 2:5, 2:5], labels[9:12, 9:12, 9:12] = 1, 2
    write_image(tmp_path / "x.nii.gz", image.with_data(labels))
    atlas = Atlas.load(folder, tmp_path / "x.nii.gz", names="1=liver,2=spleen", rois=["Spleen"])
    assert atlas.names == {2: "spleen"}
    with pytest.raises(InputError, match="both"):
        Atlas.load(folder, tmp_path / "x.nii.gz", rois=["a"], only=[1])


def test_holes_apart_and_drawn_twice(tmp_path, image):
    grid = image.grid
    outer, hole = box(grid, (2, 2), (20, 20), 4), box(grid, (8, 8), (12, 12), 4)
    twice = box(grid, (2, 2), (20, 20), 5)
    path = write_structures(tmp_path / "rs.dcm", {"ring": [outer, hole], "twice": [twice, twice]})
    data = read_labels(path, image=image).data
    assert (data == 1).sum() == 19 * 19 - 25
    assert (data == 2).sum() == 19 * 19


def test_structures_on_every_second_slice_are_filled_with_a_notice(tmp_path, image):
    drawn = [box(image.grid, (5, 5), (15, 15), k) for k in (2, 4, 6, 8)]
    labels = read_labels(write_structures(tmp_path / "rs.dcm", {"cord": drawn}), image=image)
    assert [int(labels.data[..., k].any()) for k in range(11)] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert "cord: 3 slices between contours filled in" in labels.meta["notices"][0]


@pytest.mark.parametrize("axis", [0, 1])
def test_contours_on_planes_across_the_slices(tmp_path, image, axis):
    """Drawn on sagittal or coronal planes of an axial series."""
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:12, 5:14, 3:9] = 1
    u, v = [a for a in range(3) if a != axis]
    low, high = np.array([4, 5, 3]) - 0.5, np.array([12, 14, 9]) - 0.5
    contours = []
    for n in range((4, 5)[axis], (12, 14)[axis]):
        points = np.zeros((4, 3))
        points[:, axis] = n
        points[:, u], points[:, v] = [low[u], high[u], high[u], low[u]], [low[v], low[v], high[v], high[v]]
        contours.append(image.grid.to_world(points))
    labels = read_labels(write_structures(tmp_path / "rs.dcm", {"x": contours}), image=image)
    assert np.array_equal(labels.data, expected)


def test_contours_on_oblique_planes_are_carried_over(tmp_path, image):
    """A ball drawn on planes turned by 25 degrees against the slices."""
    grid, radius = image.grid, 9.0
    centre, turn = grid.centre, np.radians(25)
    axes = grid.affine[:3, :3] / grid.spacing
    u, n = axes[:, 0], np.cos(turn) * axes[:, 2] + np.sin(turn) * axes[:, 1]
    v = np.cross(n, u)
    contours = []
    for at in np.arange(-8.5, 9, 1.0):
        angles, r = np.linspace(0, 2 * np.pi, 60, endpoint=False), np.sqrt(radius**2 - at**2)
        contours.append(centre + at * n + r * (np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v))
    labels = read_labels(write_structures(tmp_path / "rs.dcm", {"ball": contours}), image=image)
    world = grid.to_world(np.argwhere(np.ones(SHAPE))).reshape(*SHAPE, 3)
    ball = np.linalg.norm(world - centre, axis=-1) < radius
    dice = 2 * (ball & (labels.data > 0)).sum() / (ball.sum() + (labels.data > 0).sum())
    assert dice > 0.95
    assert "oblique" in labels.meta["notices"][0]


def test_a_nifti_of_the_series_takes_the_contours_too(tmp_path, image):
    structures = {"x": [box(image.grid, (3, 4), (9, 12), k) for k in range(2, 6)]}
    path = write_structures(tmp_path / "rs.dcm", structures)
    write_image(tmp_path / "x.nii.gz", image)
    assert np.array_equal(
        read_labels(path, image=read_image(tmp_path / "x.nii.gz")).data, read_labels(path, image=image).data
    )


def test_the_smaller_structure_keeps_the_voxel(tmp_path, image):
    body = [box(image.grid, (1, 1), (30, 30), k) for k in range(2, 8)]
    organ = [box(image.grid, (5, 5), (10, 10), k) for k in range(3, 6)]
    labels = read_labels(write_structures(tmp_path / "rs.dcm", {"organ": organ, "BODY": body}), image=image)
    assert (labels.data == 1).sum() == 36 * 3
    assert "these lose a part: BODY (2%)" in labels.meta["notices"][0]


def test_points_and_empty_structures_are_left_out_with_a_notice(tmp_path, image):
    square = [box(image.grid, (3, 3), (5, 5), 3)]
    drawn = {"iso": [image.grid.centre[None]], "x": square, "nothing": []}
    path = write_structures(tmp_path / "rs.dcm", drawn, kinds={"iso": "POINT"})
    labels = read_labels(path, image=image)
    assert set(np.unique(labels.data)) == {0, 2}
    text = " ".join(labels.meta["notices"])
    assert "iso: 1 points or open contours left out" in text
    assert "nothing: nothing is drawn for it" in text


def test_contours_that_leave_the_image(tmp_path, image):
    path = write_structures(tmp_path / "rs.dcm", {"x": [box(image.grid, (30, 30), (60, 60), 3)]})
    labels = read_labels(path, image=image)
    assert (labels.data > 0).sum() == 10 * 6
    assert "1 of 1 contours leave the image" in labels.meta["notices"][0]
    path = write_structures(tmp_path / "far.dcm", {"x": [box(image.grid, (3, 3), (6, 6), 300)]})
    with pytest.raises(GeometryError, match="no"):
        read_labels(path, image=image)


def test_another_frame_of_reference_is_refused(tmp_path, image):
    drawn = {"x": [box(image.grid, (3, 3), (6, 6), 3)]}
    path = write_structures(tmp_path / "rs.dcm", drawn, frame=uid("elsewhere"), series="another")
    with pytest.raises(GeometryError, match="frame of reference"):
        read_labels(path, image=image)
    # Anonymisers give one series two frames of reference.
    path = write_structures(tmp_path / "same.dcm", drawn, frame=uid("elsewhere"))
    assert "drawn on this series; taken" in read_labels(path, image=image).meta["notices"][0]
    path = write_structures(tmp_path / "other.dcm", drawn, series="another")
    assert "another series of the same frame" in read_labels(path, image=image).meta["notices"][0]


def test_contours_that_are_not_flat_are_refused(tmp_path, image):
    points = image.grid.centre + np.random.default_rng(0).normal(0, 5, (12, 3))
    with pytest.raises(GeometryError, match="parallel planes"):
        read_labels(write_structures(tmp_path / "rs.dcm", {"x": [points]}), image=image)


def test_the_series_that_was_drawn_on_is_taken(tmp_path, folder, image):
    both = tmp_path / "both"
    shutil.copytree(folder, both / "a")
    write_series(both / "b", noise((9, 9, 9)), slanted(), series="another")
    write_structures(both / "rs.dcm", {"x": [box(image.grid, (3, 3), (6, 6), 3)]})
    assert find_labels(both).drawn_on == uid("series")
    atlas = Atlas.load(both, both)
    assert atlas.image.grid.shape == SHAPE
    with pytest.raises(InputError, match="--atlas-series"):
        Atlas.load(both, both / "rs.dcm", series="7")


def test_which_file_holds_the_structures(tmp_path, folder, image):
    with pytest.raises(InputError, match="expected one RTSTRUCT or DICOM segmentation, got none"):
        read_labels(folder, image=image)
    for name in ("one", "two"):
        write_structures(tmp_path / f"{name}.dcm", {"x": [box(image.grid, (3, 3), (6, 6), 3)]})
    with pytest.raises(InputError, match=r"2 of them \(one.dcm, two.dcm\)"):
        read_labels(tmp_path, image=image)
    with pytest.raises(InputError, match="need the image"):
        read_labels(tmp_path / "one.dcm")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.ROIContourSequence[0].ContourSequence[0].ContourData.pop(),
        lambda d: setattr(d.ROIContourSequence[0].ContourSequence[0], "ContourData", ["1e999"] * 12),
        lambda d: delattr(d.ROIContourSequence[0], "ReferencedROINumber"),
        lambda d: setattr(d, "StructureSetROISequence", []),
    ],
)
def test_damaged_structure_sets_are_one_line(tmp_path, image, spoil):
    path = write_structures(tmp_path / "rs.dcm", {"x": [box(image.grid, (3, 3), (6, 6), 3)]})
    dataset = pydicom.dcmread(path)
    spoil(dataset)
    dataset.save_as(path)
    with pytest.raises(InputError) as caught:
        read_labels(path, image=image)
    assert "\n" not in str(caught.value)


def segmentation(folder, path, masks, *, kind="BINARY", slices=slice(None)):
    """A segmentation object as somebody else's highdicom writes it."""
    headers = sorted((pydicom.dcmread(p) for p in folder.iterdir()), key=lambda d: int(d.InstanceNumber))
    descriptions = [
        hd.seg.SegmentDescription(n, f"part {n}", codes.SCT.Organ, codes.SCT.Organ, "MANUAL")
        for n in range(1, masks.shape[-1] + 1)
    ]
    hd.seg.Segmentation(
        headers[slices], masks.transpose(2, 1, 0, 3)[slices], kind, descriptions, uid("seg"), 1, uid("seg", 1), 1,
        "m", "m", "1", "1",
    ).save_as(path)  # fmt: skip
    return path


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize("slices", [slice(None), slice(4, 13)])
def test_segmentations_of_all_kinds(tmp_path, folder, image, kind, slices):
    masks = np.zeros((*SHAPE, 2), np.uint8 if kind == "BINARY" else np.float32)
    masks[3:10, 4:12, 5:8, 0] = 1
    masks[12:20, 14:22, 9:12, 1] = 1 if kind == "BINARY" else 0.75
    path = segmentation(folder, tmp_path / "seg.dcm", masks, kind=kind, slices=slices)
    labels = read_labels(path, image=image)
    assert labels.grid.matches(image.grid, 0)
    assert np.array_equal(labels.data, (masks[..., 0] > 0) + 2 * (masks[..., 1] > 0.5).astype(np.uint8))
    assert labels.meta["label_names"] == {1: "part 1", 2: "part 2"}
    assert len(labels.meta["notices"]) == (kind == "FRACTIONAL")
    alone = read_labels(path)
    assert np.array_equal(np.unique(alone.data), [0, 1, 2])


def test_overlapping_segments(tmp_path, folder, image):
    masks = np.zeros((*SHAPE, 2), np.uint8)
    masks[2:20, 2:20, 2:9, 0] = masks[5:9, 5:9, 4:6, 1] = 1
    labels = read_labels(segmentation(folder, tmp_path / "seg.dcm", masks), image=image)
    assert (labels.data == 2).sum() == 32
    assert "part 1" in labels.meta["notices"][0]


def test_a_segmentation_on_another_grid_is_resampled(tmp_path, folder, image):
    masks = np.zeros((*SHAPE, 1), np.uint8)
    masks[5:25, 5:25, 3:12] = 1
    path = segmentation(folder, tmp_path / "seg.dcm", masks)
    fine = image.grid.with_spacing((1.0, 1.0, 1.5))
    write_image(tmp_path / "fine.nii.gz", type(image)(np.random.default_rng(0).random(fine.shape), fine))
    atlas = Atlas.load(tmp_path / "fine.nii.gz", path)
    assert any("resampled" in notice for notice in atlas.notices)
    assert atlas.names == {1: "part 1"}
    volume = (atlas.labels.data > 0).sum() * fine.voxel_volume_ml
    assert volume == pytest.approx(masks.sum() * image.grid.voxel_volume_ml, rel=0.05)


def test_damaged_segmentations_are_one_line(tmp_path, folder, image):
    masks = np.zeros((*SHAPE, 1), np.uint8)
    masks[3:10, 4:12, 5:8] = 1
    block = segmentation(folder, tmp_path / "seg.dcm", masks).read_bytes()
    for size in (400, 2000, len(block) // 2, len(block) - 30):
        (tmp_path / "seg.dcm").write_bytes(block[:size])
        with pytest.raises(InputError):
            read_labels(tmp_path / "seg.dcm", image=image)
