"""Layouts are identified by evidence: folders of patients are no classes, masks are no images, ties are refused."""

import json
from pathlib import Path

import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.errors import ConfigError, DataError


def write(root: Path, images: list[str], masks: list[str] = ()) -> Path:  # type: ignore[assignment]
    """Write images and masks under the given names."""
    for number, name in enumerate(images):
        save(root / name, make_image(number))
    for number, name in enumerate(masks):
        save(root / name, make_mask(number))
    return root


def cases_of(dataset) -> dict[str, tuple[list[str], str, str]]:
    """Return images, mask and patient of each case, relative to the root."""
    return {
        case.name: ([dataset.relative(path) for path in case.images], dataset.relative(case.label), case.group)
        for case in dataset.cases
    }


def test_brats_sequences_are_channels_of_one_case_per_folder(tmp_path: Path):
    names = [f"BraTS20_{n:03d}" for n in range(3)]
    sequences = ["flair", "t1", "t1ce", "t2"]
    write(tmp_path, [f"{n}/{n}_{s}.nii.gz" for n in names for s in sequences], [f"{n}/{n}_seg.nii.gz" for n in names])
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.task, dataset.channels) == ("patients", "segmentation", tuple(sequences))
    files = [f"BraTS20_001/BraTS20_001_{s}.nii.gz" for s in sequences]
    assert cases_of(dataset)["BraTS20_001"] == (files, "BraTS20_001/BraTS20_001_seg.nii.gz", "BraTS20_001")
    (tmp_path / "BraTS20_001/BraTS20_001_t2.nii.gz").unlink()
    missing = [issue for issue in check_dataset(open_dataset(tmp_path)) if issue.level == "error"]
    assert [Path(issue.file).name for issue in missing] == ["BraTS20_001_t2.nii.gz"]


def test_numbered_folders_below_collections_are_patients(tmp_path: Path):
    names = ["HGG/B_1", "HGG/B_2", "LGG/B_3"]
    write(tmp_path, [f"{n}/t1.nii.gz" for n in names], [f"{n}/seg.nii.gz" for n in names])
    assert [case.group for case in open_dataset(tmp_path).cases] == ["HGG_B_1", "HGG_B_2", "LGG_B_3"]


def test_sessions_belong_to_one_patient(tmp_path: Path):
    names = [f"p{n}/ses-{s}" for n in range(2) for s in (1, 2)]
    write(tmp_path, [f"{n}/image.nii.gz" for n in names], [f"{n}/mask.nii.gz" for n in names])
    dataset = open_dataset(tmp_path)
    assert list(cases_of(dataset)) == ["p0_ses-1", "p0_ses-2", "p1_ses-1", "p1_ses-2"]
    assert [case.group for case in dataset.cases] == ["p0", "p0", "p1", "p1"]


def test_folders_that_could_be_sessions_or_patients_are_refused(tmp_path: Path):
    names = [f"p{n}/{s}" for n in range(2) for s in ("x7", "y3")]
    write(tmp_path, [f"{n}/image.nii.gz" for n in names], [f"{n}/mask.nii.gz" for n in names])
    with pytest.raises(DataError, match=r"patients or sessions.*\{patient\}"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("p{}/ct.nii.gz", "p{}/masks/ct.nii.gz"),
        ("p{}/images/scan.nii.gz", "p{}/labels/scan.nii.gz"),
        ("p{0}/p{0}.nii.gz", "p{0}/p{0}_seg.nii.gz"),
        ("case_{}/imaging.nii.gz", "case_{}/segmentation.nii.gz"),
        ("p{}/2020010{}_ct.nii.gz", "p{}/2020010{}_ct_mask.nii.gz"),
    ],
)
def test_masks_beside_and_below_the_image(image, mask, tmp_path: Path):
    numbers = [(n, n) for n in range(3)]
    write(tmp_path, [image.format(*n) for n in numbers], [mask.format(*n) for n in numbers])
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "patients"
    assert [files[:2] for files in cases_of(dataset).values()] == [
        ([image.format(*n)], mask.format(*n)) for n in numbers
    ]


def test_acdc_frames_are_cases_and_the_series_is_unused(tmp_path: Path):
    names = [f"patient{n:03d}/patient{n:03d}_frame{f}" for n in (1, 2) for f in ("01", f"1{n}")]
    series = [f"patient{n:03d}/patient{n:03d}_4d.nii.gz" for n in (1, 2)]
    write(tmp_path, [*(f"{n}.nii.gz" for n in names), *series], [f"{n}_gt.nii.gz" for n in names])
    dataset = open_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == [
        "patient001_frame01", "patient001_frame11", "patient002_frame01", "patient002_frame12"
    ]  # fmt: skip
    assert [case.group for case in dataset.cases] == ["patient001", "patient001", "patient002", "patient002"]
    assert [dataset.relative(path) for path in dataset.unmatched] == series


def test_one_mask_per_class_is_refused_by_name(tmp_path: Path):
    organs = ("liver", "spleen")
    folders = ("s0001", "s0002")
    masks = [f"{n}/segmentations/{organ}.nii.gz" for n in folders for organ in organs]
    write(tmp_path, [f"{n}/ct.nii.gz" for n in folders], masks)
    with pytest.raises(DataError, match=r"s0001: has 2 masks \(liver, spleen\).*one label map"):
        open_dataset(tmp_path)


def test_a_mask_of_one_of_several_sequences_is_refused(tmp_path: Path):
    names = [f"p{n}" for n in range(3)]
    write(tmp_path, [f"{n}/{s}.nii.gz" for n in names for s in ("t1", "t2")], [f"{n}/t1_seg.nii.gz" for n in names])
    with pytest.raises(DataError, match=r"p0: has a mask for one image, and t2\.nii\.gz.*label:"):
        open_dataset(tmp_path)


def test_folders_of_a_split_are_refused(tmp_path: Path):
    names = [f"{part}/p{n}" for part in ("train", "test") for n in range(2)]
    write(tmp_path, [f"{n}/t1.nii.gz" for n in names], [f"{n}/seg.nii.gz" for n in names])
    with pytest.raises(DataError, match=r"test/, train/ of a split"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path / "train").cases) == 2


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["p0/1.nii.gz", "p0/2.nii.gz", "p1/1.nii.gz", "p1/2.nii.gz"], "numbered"),
        (["anna/t1.nii.gz", "anna/t2.nii.gz", "bert/t1.nii.gz", "bert/t2.nii.gz"], "same file names"),
        (["anna/a.nii.gz", "bert/b.nii.gz"], "single file"),
        (["1.2.840.1/a.nii.gz", "1.2.840.1/b.nii.gz", "1.2.840.2/c.nii.gz", "1.2.840.2/d.nii.gz"], "numbered"),
        (["images_t1/a.nii.gz", "images_t1/b.nii.gz", "masks/a.nii.gz", "masks/b.nii.gz"], "role|mask"),
        (["train/a.nii.gz", "train/b.nii.gz", "test/c.nii.gz", "test/d.nii.gz"], "role"),
    ],
)
def test_folders_without_evidence_of_classes_are_refused(files, reason, tmp_path: Path):
    write(tmp_path, files)
    with pytest.raises(DataError, match=reason):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, "classes").task == "classification"


def test_masks_by_content_are_no_class_members(tmp_path: Path):
    write(tmp_path, ["anna/a.nii.gz", "bert/c.nii.gz"], ["anna/b.nii.gz", "bert/d.nii.gz"])
    with pytest.raises(DataError, match=r"anna/b\.nii\.gz holds few whole numbers on the grid of a\.nii\.gz"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        ["run/1.nii.gz", "run/2.nii.gz", "walk/1.nii.gz", "walk/2.nii.gz"],
        ["0/a.nii.gz", "0/b.nii.gz", "1/c.nii.gz", "1/d.nii.gz"],
        ["grade1/a.nii.gz", "grade1/b.nii.gz", "grade2/c.nii.gz", "grade2/d.nii.gz", "grade2/e.nii.gz"],
        ["glioma/case_01.nii.gz", "glioma/case_02.nii.gz", "other/case_01.nii.gz", "other/case_02.nii.gz"],
    ],
)
def test_folders_of_several_cases_are_classes(files, tmp_path: Path):
    dataset = open_dataset(write(tmp_path, files))
    assert (dataset.layout, dataset.task, len(dataset.cases)) == ("classes", "classification", len(files))


@pytest.mark.parametrize(
    ("images", "labels"),
    [("image", "label"), ("imgs", "masks"), ("Images", "Segmentations"), ("imagesTr", "labelsTr"), ("images", "gt")],
)
def test_pairs_of_folders_under_other_names(images, labels, tmp_path: Path):
    write(tmp_path, [f"{images}/c{n}.nii.gz" for n in range(2)], [f"{labels}/c{n}.nii.gz" for n in range(2)])
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, len(dataset.cases), dataset.labels) == ("folders", 2, {"1": 1, "2": 2})
    assert check_dataset(dataset) == []


def test_two_folders_of_images_are_a_tie(tmp_path: Path):
    write(tmp_path, ["images/a.nii.gz", "image/a.nii.gz"], ["labels/a.nii.gz"])
    with pytest.raises(DataError, match="image/ and images/"):
        open_dataset(tmp_path)


def test_masks_decide_whether_a_number_is_a_channel(tmp_path: Path):
    images = [f"images/c{n}_{channel:04d}.nii.gz" for n in range(2) for channel in range(2)]
    write(tmp_path / "channels", images, [f"labels/c{n}.nii.gz" for n in range(2)])
    dataset = open_dataset(tmp_path / "channels")
    assert [case.name for case in dataset.cases] == ["c0", "c1"]
    assert cases_of(dataset)["c0"][0] == images[:2]
    assert check_dataset(dataset) == []
    names = [f"scan_{n:04d}.nii.gz" for n in range(2)]
    write(tmp_path / "cases", [f"images/{name}" for name in names], [f"labels/{name}" for name in names])
    assert [case.name for case in open_dataset(tmp_path / "cases").cases] == ["scan_0000", "scan_0001"]
    write(tmp_path / "cases", [], ["labels/scan.nii.gz"])
    with pytest.raises(DataError, match="has a mask for scan_0000, but also one for scan"):
        open_dataset(tmp_path / "cases")


def test_image_and_mask_names_may_differ_in_their_role(tmp_path: Path):
    images, masks = ([f"{kind}/{word}-{n}.nii.gz" for n in range(3)] for kind, word in
                     (("images", "volume"), ("labels", "segmentation")))  # fmt: skip
    dataset = open_dataset(write(tmp_path, images, masks))
    assert [(files[0], files[1]) for files in cases_of(dataset).values()] == [
        ([image], mask) for image, mask in zip(images, masks, strict=True)
    ]


def describe(root: Path, **content) -> None:
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1, "b": 2}, **content}
    (root / "dataset.json").write_text(json.dumps(description))


def test_missing_labels_are_one_issue(tmp_path: Path):
    write(tmp_path, [f"imagesTr/c{n}_0000.nii.gz" for n in range(3)])
    describe(tmp_path)
    errors = [issue for issue in check_dataset(open_dataset(tmp_path)) if "mask" in issue.message]
    assert [issue.message for issue in errors] == [
        "has no mask for any of its 3 cases; labelsTr/c0.nii.gz is expected first"
    ]


def test_nnunet_file_list(tmp_path: Path):
    write(tmp_path, [f"p{n}/img.nii.gz" for n in range(3)], [f"p{n}/seg.nii.gz" for n in range(3)])
    files = {f"c{n}": {"images": [f"p{n}/img.nii.gz"], "label": f"p{n}/seg.nii.gz"} for n in range(2)}
    describe(tmp_path, dataset=files)
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.labels) == ("nnunet_files", {"a": 1, "b": 2})
    assert cases_of(dataset) == {f"c{n}": ([f"p{n}/img.nii.gz"], f"p{n}/seg.nii.gz", f"p{n}") for n in range(2)}


def test_datalist_with_equal_names_in_folders(tmp_path: Path):
    names = [f"p{n}/ses-{s}" for n in range(2) for s in (1, 2)]
    write(tmp_path, [f"{n}/{c}.nii.gz" for n in names for c in ("t1", "t2")], [f"{n}/seg.nii.gz" for n in names])
    listed = [{"image": [f"{n}/t1.nii.gz", f"{n}/t2.nii.gz"], "label": f"{n}/seg.nii.gz", "fold": 0} for n in names]
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"training": listed[:3], "validation": listed[3:]}))
    dataset = open_dataset(path)
    assert (dataset.labels, dataset.channels) == ({"1": 1, "2": 2}, ("image1", "image2"))
    assert [case.group for case in (*dataset.cases, *dataset.test_cases)] == ["p0", "p0", "p1", "p1"]
    assert [case.name for case in dataset.test_cases] == ["p1_ses-2_t1"]


def test_datalist_of_classes(tmp_path: Path):
    write(tmp_path, [f"{n}.nii.gz" for n in range(4)])
    entries = [{"image": f"{n}.nii.gz", "label": n % 2} for n in range(4)]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": entries}))
    dataset = open_dataset(tmp_path)
    assert (dataset.task, dataset.labels) == ("classification", {"0": 0, "1": 1})


def test_layouts_that_disagree_are_refused(tmp_path: Path):
    write(tmp_path, [f"images/c{n}.nii.gz" for n in range(2)], [f"labels/c{n}.nii.gz" for n in range(2)])
    write(tmp_path, ["imagesTr/x.nii.gz"], ["labelsTr/x.nii.gz"])
    describe(tmp_path, training=[{"image": "imagesTr/x.nii.gz", "label": "labelsTr/x.nii.gz"}])
    with pytest.raises(DataError, match=r"two layouts.*decathlon, 1 cases.*folders, 2 cases.*layout: folders"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, "decathlon").cases) == 1
    assert len(open_dataset(tmp_path, "folders").cases) == 2


def test_a_list_of_some_files_is_no_tie(tmp_path: Path):
    write(tmp_path, [f"images/c{n}.nii.gz" for n in range(3)], [f"labels/c{n}.nii.gz" for n in range(3)])
    describe(tmp_path, training=[{"image": f"images/c{n}.nii.gz", "label": f"labels/c{n}.nii.gz"} for n in range(2)])
    assert len(open_dataset(tmp_path).cases) == 2


def test_channel_files_in_patient_folders_follow_the_names_of_dataset_json(tmp_path: Path):
    write(tmp_path, [f"p{n}/img.nii.gz" for n in range(2)], [f"p{n}/seg.nii.gz" for n in range(2)])
    describe(tmp_path)
    assert (open_dataset(tmp_path).channels, open_dataset(tmp_path).labels) == (("MR",), {"a": 1, "b": 2})
    describe(tmp_path, channel_names={"0": "T1", "1": "T2"})
    with pytest.raises(DataError, match=r"names the channels T1, T2, but the files are img"):
        open_dataset(tmp_path)


def test_unknown_folders_name_the_nearest_layout(tmp_path: Path):
    write(tmp_path / "flat", ["a.nii.gz", "b.nii.gz"])
    write(tmp_path / "nested", ["images/p0/a.nii.gz"], ["labels/p0/a.nii.gz"])
    write(tmp_path / "listed", ["p0/a/b/c/d/e/a.nii.gz"])
    (tmp_path / "listed" / "cohort.csv").write_text("image,label\n")
    for name, message in (("flat", "2 volumes"), ("nested", "images/ and labels/"), ("listed", r"holds cohort\.csv")):
        with pytest.raises(DataError, match=message):
            open_dataset(tmp_path / name)


def test_patterns_describe_any_folder(tmp_path: Path):
    names = [f"site{s}/pat{p}/scan{v}" for s in "ab" for p in (1, 2) for v in (1, 2)]
    write(tmp_path, [f"{n}/{c}_x.nii.gz" for n in names for c in ("T1", "T2")], [f"{n}/drawn.nii.gz" for n in names])
    patterns = {
        "image": {"T1": "*/{patient}/{case}/T1_*.nii.gz", "FLAIR": "*/{patient}/{case}/T2_*.nii.gz"},
        "label": "*/{patient}/{case}/drawn.nii.gz",
    }
    with pytest.raises(DataError, match="same case as"):  # both sites have a pat1
        open_dataset(tmp_path, patterns)
    dataset = open_dataset(tmp_path / "sitea", json.loads(json.dumps(patterns).replace("*/{p", "{p")))
    assert (dataset.layout, dataset.channels, dataset.labels) == ("patterns", ("T1", "FLAIR"), {"1": 1, "2": 2})
    assert [(case.name, case.group) for case in dataset.cases][:3] == [
        ("pat1_scan1", "pat1"), ("pat1_scan2", "pat1"), ("pat2_scan1", "pat2")
    ]  # fmt: skip
    assert check_dataset(dataset) == []


def test_patterns_of_classes_and_without_labels(tmp_path: Path):
    write(tmp_path, ["p0/a.nii.gz", "p0/b.nii.gz", "p1/c.nii.gz"])
    dataset = open_dataset(tmp_path, {"image": "{class}/{case}.nii.gz"})
    assert (dataset.task, dataset.labels) == ("classification", {"p0": 0, "p1": 1})
    assert [case.label for case in open_dataset(tmp_path, {"image": "{patient}/{case}.nii.gz"}).cases] == [None] * 3


def test_patterns_leave_masks_out_of_the_images(tmp_path: Path):
    write(tmp_path, ["a.nii.gz", "b.nii.gz"], ["a_seg.nii.gz", "b_seg.nii.gz"])
    dataset = open_dataset(tmp_path, {"image": "{case}.nii.gz", "label": "{case}_seg.nii.gz"})
    assert list(cases_of(dataset)) == ["a", "b"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"imag": "{case}.nii.gz"}, "key 'imag'"),
        ({"image": "{subject}.nii.gz"}, r"unknown \{subject\}"),
        ({"image": "*.nii.gz"}, "neither"),
        ({"label": "{case}.nii.gz"}, "a pattern for image"),
        ({"image": {"T1": 3}}, "pattern of image T1"),
        ({"image": "{class}/{case}.nii.gz", "label": "{case}.nii.gz"}, "keep one"),
    ],
)
def test_invalid_patterns_name_the_key(patterns, message, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        open_dataset(write(tmp_path, ["a.nii.gz"]), patterns)


def test_pattern_without_files_shows_one(tmp_path: Path):
    write(tmp_path, ["a/x.nii.gz"])
    with pytest.raises(DataError, match=r"no file that matches.*a/x\.nii\.gz"):
        open_dataset(tmp_path, {"image": "{case}/y.nii.gz"})


def test_names_of_patients_may_hold_any_word(tmp_path: Path):
    """A patient folder called scan_001 or seg_7 is a patient, not a folder of images or masks."""
    names = ["scan_001", "scan_002", "seg_7"]
    write(tmp_path, [f"{n}/t1.nii.gz" for n in names], [f"{n}/mask.nii.gz" for n in names])
    assert list(cases_of(open_dataset(tmp_path))) == names
    assert check_dataset(open_dataset(tmp_path)) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image": [], "label": "a.nii.gz"}, "as case 0 of 'training'"),
        ({"image": ["a.nii.gz", 3]}, "as case 0 of 'training'"),
        ({"image": "a.nii.gz", "label": {}}, "as case 0 of 'training'"),
        (None, "as case 0 of 'training'"),
    ],
)
def test_invalid_entries_of_a_list_are_named(entry, message, tmp_path: Path):
    write(tmp_path, ["a.nii.gz"])
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path)


def test_validation_that_is_no_list_is_named(tmp_path: Path):
    write(tmp_path, ["a.nii.gz"])
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [{"image": "a.nii.gz"}], "validation": 3}))
    with pytest.raises(DataError, match="has 'validation' that is no list"):
        open_dataset(tmp_path)


def test_lists_are_read_from_a_relative_path(tmp_path: Path, monkeypatch):
    write(tmp_path / "d", [f"p{n}/img.nii.gz" for n in range(2)], [f"p{n}/seg.nii.gz" for n in range(2)])
    listed = [{"image": f"./p{n}/img.nii.gz", "label": f"./p{n}/seg.nii.gz"} for n in range(2)]
    describe(tmp_path / "d", training=listed)
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("d")
    assert check_dataset(dataset) == []
    assert cases_of(dataset)["p0_img"] == (["p0/img.nii.gz"], "p0/seg.nii.gz", "p0")


def test_files_with_impossible_names_are_refused(tmp_path: Path):
    write(tmp_path, ["a.nii.gz", "b.nii.gz"], ["a_seg.nii.gz"])
    names = ["a.nii.gz", "b" * 300 + ".nii.gz"]
    describe(tmp_path, training=[{"image": name, "label": "a_seg.nii.gz"} for name in names])
    with pytest.raises(DataError, match="path that no file can have, 'bbb"):
        open_dataset(tmp_path)
    (tmp_path / "t.csv").write_text("image,label\n" + "b" * 300 + ".nii.gz,1\n")
    with pytest.raises(DataError, match="path that no file can have, 'bbb"):
        open_dataset(tmp_path / "t.csv")


def test_a_missing_channel_is_never_replaced_by_another(tmp_path: Path):
    """The folder 2 lacks t1; its t2 is not what t1 of the folder 1 would be called there."""
    write(
        tmp_path, [f"{n}/{s}.nii.gz" for n in (1, 2, 3) for s in ("t1", "t2")], [f"{n}/seg.nii.gz" for n in (1, 2, 3)]
    )
    (tmp_path / "2" / "t1.nii.gz").unlink()
    dataset = open_dataset(tmp_path)
    assert [path.name for path in dataset.cases[1].images] == ["t1.nii.gz", "t2.nii.gz"]
    assert [issue.file for issue in check_dataset(dataset)] == [str(tmp_path / "2" / "t1.nii.gz")]


def test_patients_without_masks_by_name_are_refused(tmp_path: Path):
    write(tmp_path, ["p0/a.nii.gz", "p1/a.nii.gz"])
    with pytest.raises(DataError, match="p0: has no file that is a mask by its name"):
        open_dataset(tmp_path, "patients")
