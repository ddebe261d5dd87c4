"""The report page: self-contained, escaped, accessible, for studies in any state."""

import base64
import hashlib
import io
import itertools
import re
from collections import Counter
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from synthetic_study import LABELS, arms, record, save_volume, write_study

from dimlift.errors import DataError
from dimlift.records.record import Score
from dimlift.records.study import CasePaths, StudyArm, StudyDataset
from dimlift.report.depth_plan import draw_depth_plan
from dimlift.report.page import write_report

VOID = {"meta", "br", "img", "link", "hr", "input"}
OWN_SCRIPTS = [
    {"type": "application/json", "id": "viewer-content"},
    {"type": "application/json", "id": "heatmap-content"},
    {},
]


class Outline(HTMLParser):
    """Tags with their attributes, text, and errors in the nesting of tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.stack, self.errors, self.words = [], [], [], []
        self.feed(text)
        self.errors += self.stack

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.errors.append(tag)

    def handle_data(self, data):
        if not {"style", "script"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder):
    text = write_report(folder).read_text(encoding="utf-8")
    return text, Outline(text)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    write_study(folder)
    return (folder, *page_of(folder))


def test_page_starts_with_verdict_and_has_all_sections(complete):
    _, _, page = complete
    assert page.text.index("Compared with Plain 3D U-Net") < page.text.index("Arms")
    headings = "Arms|Differences to|Classes|Descriptions of the arms|Case by case|Cases|Time and memory|Training curves"
    for heading in [*headings.split("|"), "Certificates"]:
        assert heading in page.text
    assert "The subjects are simulated" in page.text
    assert "▲ helps" in page.text
    assert "▼ hurts" in page.text
    assert "148 weights inflated" in page.text
    assert "torch 2.13.0" in page.text
    assert "1 min 00 s of training" in page.text


def test_page_has_no_external_resources(complete):
    _, text, page = complete
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert not re.search(r"fetch|XMLHttpRequest|import\(|WebSocket|eval|innerHTML", text.rpartition("<script>")[2])
    assert page.all("script") == OWN_SCRIPTS
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), (tag, name)
    own = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in next(
        m["content"] for m in page.all("meta") if "content" in m and "src" in m["content"]
    )


def test_page_is_accessible(complete):
    _, _, page = complete
    assert page.errors == []
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert all(count == 1 for count in ids.values())
    assert all(attributes["href"][1:] in ids for attributes in page.all("a"))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("title")) == 1 + len(page.all("svg")) == 4
    assert all(attributes.get("scope") for attributes in page.all("th"))


def test_images_show_volume_truth_and_each_arm(complete):
    _, _, page = complete
    images = page.all("img")
    assert len(images) == 3 * (2 + 5)
    assert re.search(r"head_\d\d, axial slice \d+ of 20: prediction of Slice by slice, Dice 0\.\d\d", images[4]["alt"])
    image, truth = (
        matplotlib.image.imread(io.BytesIO(base64.b64decode(source["src"].split(",")[1])))[..., :3]
        for source in images[:2]
    )
    assert np.ptp(image, axis=-1).max() == 0  # grey
    assert np.ptp(truth, axis=-1).max() > 0.5
    assert truth.shape[0] > truth.shape[1]  # 44 mm anterior to posterior, 36 mm left to right


def test_slice_orientation_is_independent_of_storage_order(tmp_path):
    """The same volume stored with other axes gives the same image."""
    images = []
    for number, (axes, signs) in enumerate((((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)))):
        folder = tmp_path / str(number)
        truth = np.zeros((30, 24, 5), np.int16)
        truth[20:26, 16:20, 2] = 1  # right and anterior
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        stored, stored_affine = truth.transpose(axes), affine[:, [*axes, 3]].copy()
        for axis, sign in enumerate(signs):
            if sign < 0:
                stored = np.flip(stored, axis)
                stored_affine[:3, 3] += stored_affine[:3, axis] * (stored.shape[axis] - 1)
                stored_affine[:3, axis] *= -1
        for name in ("image", "truth"):
            save_volume(folder / f"{name}.nii.gz", np.ascontiguousarray(stored), stored_affine)
        cases = {"a": CasePaths("image.nii.gz", "truth.nii.gz")}
        write_study(folder, names=("unet",), n_cases=0, finished=0, cases=cases)
        record("unet", 0, [Score("a", "anterior", "dice", 0.5)]).save(folder / "records")
        images.append(page_of(folder)[1].all("img")[0]["src"])
    assert images[0] == images[1]
    shown = matplotlib.image.imread(io.BytesIO(base64.b64decode(images[0].split(",")[1])))[..., 0]
    rows, columns = np.nonzero(shown > 0.5)
    assert rows.mean() < shown.shape[0] / 2
    assert columns.mean() > shown.shape[1] / 2


def test_page_escapes_names(tmp_path):
    evil = "<script>alert('x')</script> & $\\frac{1}{0}$"
    named = arms(("unet", "lifted")) | {"lifted": StudyArm(evil, evil, {"summary": evil, "text": evil})}
    write_study(
        tmp_path,
        names=("unet", "lifted"),
        title=evil,
        notes=[evil],
        arms=named,
        dataset=StudyDataset(evil, 8, LABELS | {evil: 3}),
    )
    record("lifted", 0, [], "failed", extra={"reason": evil}, run_id="zz", versions={evil: evil}).save(
        tmp_path / "records"
    )
    text, page = page_of(tmp_path)
    assert page.all("script") == OWN_SCRIPTS
    assert text.count("<script") == 3
    assert page.text.count("alert('x')") >= 12
    assert page.errors == []


@pytest.mark.parametrize("finished", [0, 0.2, 0.5])
def test_page_of_unfinished_study(tmp_path, finished):
    write_study(tmp_path, finished=finished, n_cases=3)
    reason = "the loss is not finite at step 31; lower the learning rate"
    record("lifted", 1, status="failed", extra={"reason": reason}).save(tmp_path / "records")
    _, page = page_of(tmp_path)
    assert page.errors == []
    assert reason in page.text
    assert "1 failed" in page.text
    assert f"{round(finished * 15)} of 15 planned runs finished" in page.text
    if finished == 0.2:  # three arms of one seed
        assert page.text.count("No finished run yet: Lifted (centre), Lifted, random weights.") == 1
        assert len(page.all("img")) == 3 * (2 + 3)
        assert "there was one seed" in page.text


def test_page_of_one_arm_has_no_comparison(tmp_path):
    write_study(tmp_path, names=("lifted",), n_cases=2)
    _, page = page_of(tmp_path)
    assert "No comparison" in page.text
    assert "Differences to" not in page.text
    assert "verdict" not in page.text
    assert len(page.all("img")) == 2 * 3


def test_page_reports_missing_and_damaged_volumes(tmp_path):
    write_study(tmp_path, names=("unet", "lifted"), n_cases=3)
    files = sorted((tmp_path / "predictions" / "lifted-0").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:200])
    files[1].unlink()
    for path in (tmp_path / "data").glob("head_02.nii.gz"):
        path.unlink()
    _, page = page_of(tmp_path)
    assert page.errors == []
    assert "head_00.nii.gz" in page.text
    assert "no prediction of this case is stored" in page.text
    assert "head_02.nii.gz" in page.text


def test_failed_report_keeps_previous_page(tmp_path):
    write_study(tmp_path, names=("unet",), volumes=False)
    before = write_report(tmp_path).read_text()
    (tmp_path / "records" / "zz.json").write_text("{")
    with pytest.raises(DataError, match=r"zz\.json"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == before
    assert not list(tmp_path.glob(".*"))


def test_write_report_is_deterministic(tmp_path):
    write_study(tmp_path / "study", names=("unet", "lifted"), n_cases=2)
    one = write_report(tmp_path / "study", tmp_path / "elsewhere" / "page.html")
    assert one == tmp_path / "elsewhere" / "page.html"
    assert one.read_bytes() == write_report(tmp_path / "study").read_bytes()


def test_certificate_without_summary_is_described(tmp_path):
    certificate = {
        "source": "timm:resnet18",
        "holds": True,
        "layers": [{"name": "conv1", "description": "kernel 3"}, {"name": "pool", "description": "joint"}],
        "weights": {"inflated": {"conv1.weight": [[1], [2]]}, "copied": ["a", "b"], "resized": {}, "new": {}},
        "claims": [
            {"law": "slices", "claimed": True, "reason": "", "error": 3e-7, "tolerance": 1e-4, "holds": True},
            {"law": "constancy", "claimed": False, "reason": "2G", "error": None, "tolerance": 1e-4, "holds": True},
        ],
    }
    write_study(
        tmp_path,
        names=("unet", "lifted"),
        volumes=False,
        arms=arms(("unet",)) | {"lifted": StudyArm("L", "", certificate)},
    )
    _, page = page_of(tmp_path)
    assert "depth mixing in 2 layers; weights: 1 inflated, 2 copied" in page.text
    assert "law of slices: holds (measured error 3.0e-07)" in page.text
    assert "law of constancy: not claimed" in page.text
    assert "claims hold" in page.text


ORIGIN = {
    "name": "timm:vit_small_patch14_dinov2",
    "weights": "teacher.pth",
    "sha256": "ab" * 32,
    "licence": "cc-by-nc-4.0",
    "gated": "Meta has its DINOv3 licence accepted first",
    "filled": 172,
    "tensors": 174,
    "naming": "Hugging Face names DINOv2",
    "prefix": "teacher.",
    "resized": {"pos_embed": [[1, 1370, 384], [1, 17, 384]]},
    "dropped": ["dino_head (<2>)"],
}


def test_page_shows_provenance_of_weights(tmp_path):
    certificate = {"summary": "s"}
    named = {
        "unet": StudyArm("U", provenance=ORIGIN | {"sha256": "cd" * 32}),  # no lifted network
        "lifted": StudyArm("L", "", certificate, provenance=ORIGIN),
        "random": StudyArm("R", "", certificate, provenance=ORIGIN | {"weights": "random"}),
        "old": StudyArm(
            "O", "", certificate, provenance={"name": "timm:resnet18", "weights": "r.pth", "sha256": "ef" * 32}
        ),
    }
    write_study(tmp_path, names=tuple(named), volumes=False, arms=named)
    _, page = page_of(tmp_path)
    assert page.errors == []
    for once in (
        "weights teacher.pth",
        f"SHA-256 of the file {'ab' * 32}",
        f"SHA-256 of the file {'ef' * 32}",
        "licence cc-by-nc-4.0",
        "gating Meta has its DINOv3 licence accepted first",
        "172 of the network's 174 tensors are from the file",
        "key naming: Hugging Face names DINOv2; found under teacher.",
        "in the file but not used: dino_head (<2>)",
        "resized pos_embed from 1 x 1370 x 384 to 1 x 17 x 384",
        "weights random",
        "licence not stated",
    ):
        assert page.text.count(once) == 1, once
    assert "cdcd" not in page.text


PLAN = {
    "stages": [
        {"stride": [1, 4, 4], "channels": 24, "kernels": [], "reach": 0, "attention": "per_slice"},
        {"stride": [1, 8, 8], "channels": 48, "kernels": [3], "reach": 3, "attention": "per_slice"},
        {"stride": [2, 16, 16], "channels": 96, "kernels": [3, 5], "reach": 8, "attention": "per_slice"},
        {"stride": [4, 32, 32], "channels": 192, "kernels": [], "reach": 0, "attention": "volume"},
    ],
    "spacing": [5.0, 0.8, 0.8],
}


def test_depth_plan_shows_spacing_kernels_and_strides(tmp_path):
    write_study(tmp_path, volumes=False, arms={**arms(), "lifted": StudyArm("<Lifted>", "", PLAN)})
    text, outline = page_of(tmp_path)
    assert outline.errors == []
    (drawing,) = re.findall(r"<svg[^>]*><title>Depth plan of &lt;Lifted&gt;.*?</svg>", text)
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", drawing)
    for wanted in ("5 x 0.8 mm", "5 x 3.2 mm", "10 x 12.8 mm", "20 x 25.6 mm", "no depth mixing", "depth kernel 3, 5"):
        assert texts.count(wanted) == 1
    assert "joint attention" in texts
    assert texts.count("\N{DIVISION SIGN}2") == 2  # depth halved twice
    bars = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', drawing)]
    assert len(bars) == 16 + 16 + 16 + 8 + 4
    assert bars[-1] > bars[-5] > bars[0]
    brackets = [float(reach) for reach in re.findall(r"v-5h([\d.]+)v5", drawing)]
    assert brackets == pytest.approx([112 * 3 / 16, 112 * 8 / 16], abs=0.1)  # of a block of 16 slices


@pytest.mark.parametrize(
    ("attention", "text"),
    [("volume", "joint attention"), (3, "attention over 3"), ("planecycle", "alternating planes")],
)
def test_depth_plan_describes_attention(attention, text):
    stage = PLAN["stages"][0] | {"attention": attention}
    drawing = draw_depth_plan({"stages": [stage], "spacing": None}, "arm")
    assert f">{text}</text>" in drawing


def test_certificate_without_stages_has_no_drawing(tmp_path):
    write_study(tmp_path, volumes=False)
    assert "Depth plan of" not in page_of(tmp_path)[0]
