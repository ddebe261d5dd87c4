"""The report page in a real browser: no errors, no requests, working controls."""

import base64
import csv
import json
import shutil

import pytest
from synthetic_study import Study, arms, record, write_study

from dimlift.records.record import Score
from dimlift.records.study import StudyArm
from dimlift.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, n_cases=8)
    return write_report(folder)


def opened(browser, path, **options):
    """Return the page in a new window, and its console messages, errors and requests."""
    window = browser.new_page(**options)
    events = []
    window.on("console", lambda message: events.append(message.text))
    window.on("pageerror", lambda fault: events.append(str(fault)))
    window.on("request", lambda request: events.append(request.url) if not request.url.startswith("data:") else None)
    window.goto(path.as_uri())
    return window, events


def canvas_content(window, panel=2):
    """Return the content of a canvas of the viewer."""
    return window.evaluate(f"document.querySelectorAll('#viewer canvas')[{panel}].toDataURL()")


@needs_browser
def test_page_makes_no_requests_and_fits_the_window(browser, study):
    for options in (
        {},
        {"color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 800}, "has_touch": True},
        {"java_script_enabled": False},
    ):
        window, events = opened(browser, study, **options)
        assert events == [study.as_uri()]
        if options.get("java_script_enabled", True):
            assert window.evaluate("document.documentElement.scrollWidth <= innerWidth")
        window.close()


@needs_browser
def test_page_without_javascript_and_in_print_shows_still_images(browser, study):
    window, _ = opened(browser, study, java_script_enabled=False)
    assert not window.locator("#viewer").is_visible()
    window.locator(".stills summary").click()
    assert window.locator(".stills img").first.is_visible()
    window.close()
    window, _ = opened(browser, study, color_scheme="dark")
    window.emulate_media(media="print", color_scheme="dark")
    assert not window.locator("#viewer").is_visible()
    assert window.locator(".stills img").first.is_visible()
    assert _contrast(window, "body", "body") > 7  # dark text in print, independent of the colour scheme
    colours = "[...document.querySelectorAll('.swatch')].map((one) => getComputedStyle(one).printColorAdjust)"
    assert set(window.evaluate(colours)) == {
        "exact"
    }  # otherwise browsers omit background colours, and with them the legend
    window.close()


@needs_browser
def test_narrow_screen_shows_verdicts_without_scrolling(browser, study):
    window, _ = opened(browser, study, viewport={"width": 390, "height": 800}, has_touch=True)
    chips = window.locator("section[aria-labelledby=arms] .chip")
    assert chips.count() == 4
    for box in (chips.nth(index).bounding_box() for index in range(4)):
        assert 0 <= box["x"] < box["x"] + box["width"] <= 390
    window.close()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrast_is_sufficient(browser, study, scheme):
    window, _ = opened(browser, study, color_scheme=scheme)
    for words in ("body", ".subtle", ".chip.helps", ".chip.hurts", ".chip.open", "thead button", "summary"):
        ground = words if words.startswith(".chip") else "body"
        assert _contrast(window, words, ground) >= 4.5, words  # WCAG 2.1, AA
    window.close()


def _contrast(window, words, ground):
    return window.evaluate(
        """([words, ground]) => {
          const light = (name, kind) => {
            const parts = getComputedStyle(document.querySelector(name))[kind].match(/[\\d.]+/g).slice(0, 3).map(
              (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const [one, other] = [light(words, "color"), light(ground, "backgroundColor")].sort((a, b) => b - a);
          return (one + 0.05) / (other + 0.05);
        }""",
        [words, ground],
    )


@needs_browser
def test_viewer_reacts_to_keys_wheel_slider_and_drag(browser, study):
    window, events = opened(browser, study)
    status, canvas = window.locator("[data-part=status]"), window.locator("#viewer canvas").nth(2)
    window.wait_for_function("[...document.querySelectorAll('#viewer canvas')].length === 7")
    window.wait_for_timeout(100)

    def slice_number():
        return int(status.text_content().split()[2])

    start, first = slice_number(), canvas_content(window)
    assert 5 < start < 16  # the slice with most foreground
    window.locator("#viewer").focus()
    window.keyboard.press("ArrowDown")
    assert slice_number() == start + 1
    assert canvas_content(window) != first
    window.keyboard.press("ArrowUp")
    assert canvas_content(window) == first
    window.keyboard.press("Home")
    assert status.text_content() == "axial slice 1 of 20"
    window.keyboard.press("End")
    assert status.text_content() == "axial slice 20 of 20"

    canvas.hover()
    window.mouse.wheel(0, -120)
    window.wait_for_timeout(50)
    assert slice_number() == 17
    window.locator("[data-part=slice]").fill("4")
    assert slice_number() == 5
    box = canvas.bounding_box()
    window.mouse.move(box["x"] + 5, box["y"] + 5)
    window.mouse.down()
    window.mouse.move(box["x"] + 5 + box["width"] / 2, box["y"] + 5)
    window.mouse.up()
    assert slice_number() == 15

    before = canvas_content(window, 0)
    window.locator("#viewer").focus()
    window.keyboard.press("ArrowRight")
    window.wait_for_timeout(100)
    assert canvas_content(window, 0) != before
    assert "head_" in canvas.get_attribute("aria-label")
    assert "prediction of Plain 3D U-Net, Dice 0." in canvas.get_attribute("aria-label")
    labelled = canvas_content(window)
    window.locator("[data-part=labels]").uncheck()
    assert canvas_content(window) != labelled
    assert events == [study.as_uri()]
    window.close()


@needs_browser
def test_viewer_draws_labels_at_their_position(browser, tmp_path):
    """A label at a known position of one slice is drawn there, and nowhere else."""
    import numpy as np
    from synthetic_study import CasePaths, save_volume

    truth = np.zeros((40, 40, 10), np.int16)
    truth[30:36, 30:36, 6] = 1  # right and anterior
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    save_volume(tmp_path / "image.nii.gz", np.zeros(truth.shape, np.int16), affine)
    save_volume(tmp_path / "truth.nii.gz", truth, affine)
    write_study(
        tmp_path, names=("unet",), n_cases=0, finished=0, cases={"a": CasePaths("image.nii.gz", "truth.nii.gz")}
    )
    record("unet", 0, [Score("a", "anterior", "dice", 0.5)]).save(tmp_path / "records")
    window, _ = opened(browser, write_report(tmp_path))
    window.wait_for_timeout(200)
    colours = """(() => { const c = document.querySelectorAll('#viewer canvas')[1];
        const at = (x, y) => [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data].slice(0, 3);
        return [at(0.82, 0.18), at(0.5, 0.5)]; })()"""
    assert window.locator("[data-part=status]").text_content() == "axial slice 7 of 10"
    inside, outside = window.evaluate(colours)
    assert inside[0] > inside[2] + 50  # orange
    assert max(outside) < 10
    window.locator("#viewer").focus()
    window.keyboard.press("ArrowDown")
    assert max(max(colour) for colour in window.evaluate(colours)) < 10
    window.close()


@needs_browser
def test_tables_sort_by_number_and_name(browser, tmp_path):
    write_study(tmp_path, finished=0.8, seeds=1, n_cases=2, volumes=False)
    window, _ = opened(browser, write_report(tmp_path))
    table = window.locator("section[aria-labelledby=arms] table")

    def column(index):
        return table.locator(f"tbody tr > :nth-child({index})").all_text_contents()

    table.get_by_role("button", name="Dice").click()
    ascending = [text.strip() for text in column(2)]
    assert ascending[-1] == "–"
    assert ascending[:-1] == sorted(ascending[:-1], key=float)
    table.get_by_role("button", name="Dice").click()
    descending = [text.strip() for text in column(2)]
    assert descending == [*ascending[-2::-1], "–"]
    assert table.locator("th[aria-sort=descending]").count() == 1
    table.get_by_role("button", name="arm").click()
    assert [text.strip() for text in column(1)] == sorted(text.strip() for text in column(1))
    window.close()


def write_large_study(folder, count=200, cases=50):
    """Write a study of many arms on many cases, without volumes."""
    import numpy as np

    rng = np.random.default_rng(0)
    names = ["unet", *(f"arm_{index:03d}" for index in range(1, count))]
    named = {name: StudyArm(f"arm {index}, with a long title") for index, name in enumerate(names)}
    study = Study("Many arms", "segmentation", "unet", arms(()) | named, planned=2 * count, budget={"steps": 10})
    study.save(folder)
    gains = rng.normal(0, 0.02, count)
    for seed in range(2):
        for name, gain in zip(names, gains, strict=True):
            values = np.clip(0.8 + gain + rng.normal(0, 0.03, cases), 0, 1)
            scores = [Score(f"case_{i:02d}", "organ", "dice", float(value)) for i, value in enumerate(values)]
            record(name, seed, scores, run_id=f"{name}-{seed}").save(folder / "records")
    return folder


@pytest.mark.slow
@needs_browser
def test_page_with_two_hundred_arms_is_usable(browser, tmp_path):
    page = write_report(write_large_study(tmp_path))
    assert page.stat().st_size < 15 << 20
    window, events = opened(browser, page)
    assert events == [page.as_uri()]
    assert window.locator("section[aria-labelledby=arms] tbody tr").count() == 200
    content = json.loads(window.locator("#heatmap-content").text_content())
    assert (len(content["arms"]), len(content["cases"])) == (199, 50)
    window.locator(".squares").hover()
    assert "case_" in window.locator("#square").text_content()
    window.close()


def test_heatmap_shows_differences(tmp_path):
    """Compare pixels with scores, without a browser."""
    import io

    import matplotlib.image
    import numpy as np

    from dimlift.records.record import load_records
    from dimlift.report.heatmap import draw_heatmap
    from dimlift.report.summary import summarise_records

    named = {name: StudyArm(name) for name in ("unet", "good", "bad")}
    study = Study("t", "segmentation", "unet", named, planned=6)
    scores = {"unet": (0.5, 0.9), "good": (0.7, 0.9), "bad": (0.4, 0.9)}
    for arm, values in scores.items():
        for seed in range(2):
            found = [Score(case, "organ", "dice", value) for case, value in zip("xy", values, strict=True)]
            record(arm, seed, found).save(tmp_path)
    records = load_records(tmp_path)
    drawn = draw_heatmap(summarise_records(study, records), records)
    assert (drawn.arms, drawn.cases) == (["good", "bad"], ["x", "y"])  # best arm first, hard case first
    assert np.array(drawn.differences) == pytest.approx(np.array([[0.2, 0.0], [-0.1, 0.0]]))
    source = str(drawn.drawing).split("base64,")[1].split('"')[0]
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(source)))
    assert pixels[0, 0, 2] > pixels[0, 0, 0]  # blue for better
    assert pixels[1, 0, 0] > pixels[1, 0, 2]  # orange for worse
    assert pixels[:, 1, 3] == pytest.approx([0, 0])


def test_tables_contain_numbers_of_page(tmp_path):
    write_study(tmp_path, names=("unet", "frozen_features"), n_cases=3, volumes=False)
    page = write_report(tmp_path, tmp_path / "out" / "mine.html")
    with page.with_suffix(".csv").open() as stream:
        lines = list(csv.DictReader(stream))
    content = json.loads(page.with_suffix(".json").read_text())
    with (page.parent / "mine_scores.csv").open() as stream:
        scores = list(csv.DictReader(stream))
    assert [line["arm"] for line in lines] == ["unet", "frozen_features"]
    assert float(lines[1]["difference"]) == content["rows"][1]["comparison"]["estimate"]["mean"]
    own = [float(s["value"]) for s in scores if s["arm"] == "unet"]
    assert len(own) == 3 * 3 * 2
    assert float(lines[0]["dice"]) == pytest.approx(sum(own) / len(own))
