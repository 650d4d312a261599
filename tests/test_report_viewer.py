"""The viewer of the report: what is packed into the page, and how it answers to a real browser's events."""

import base64
import re
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
from test_report import Elements

from nnunet_kits import geometry
from nnunet_kits.images import write_volume
from nnunet_kits.labels import Label
from nnunet_kits.palette import DIFFERENCE_COLOURS, LABEL_COLOURS
from nnunet_kits.reporting import volume
from nnunet_kits.reporting.overlays import Case
from nnunet_kits.reporting.report import VIEWER_MB, write_report
from nnunet_kits.reporting.shading import WINDOWS_HU
from nnunet_kits.reporting.study import ReportCase

SHAPE, SPACING = (20, 90, 120), (5.0, 0.8, 1.25)
TUMOR_PREDICTED, TUMOR_REFERENCE = ((8, 13), (40, 56), (30, 46)), ((8, 13), (40, 56), (32, 48))
CYST = ((5, 7), (44, 52), (80, 90))


def inside(box):
    return tuple(slice(*interval) for interval in box)


def arrays():
    """(ct, prediction, reference): two kidneys, a tumour that is predicted 2 voxels beside its place, and a cyst."""
    ct = np.full(SHAPE, -100, np.int16)
    maps = np.zeros((2, *SHAPE), np.uint8)
    for columns in ((28, 50), (70, 92)):
        maps[:, 4:16, 36:60, slice(*columns)] = Label.KIDNEY
    ct[maps[0] > 0] = 150
    maps[0][inside(TUMOR_PREDICTED)] = maps[1][inside(TUMOR_REFERENCE)] = Label.TUMOR
    maps[:, *inside(CYST)] = Label.CYST
    ct[inside(TUMOR_REFERENCE)] = 60
    ct[inside(CYST)] = 10
    ct[7:, 20:30, 55:65] = 700  # bone
    return ct, *maps


# What is packed


def unpacked(packed):
    """(HU, labels) of a volume, by the definition of LOCO-I's predictor, voxel by voxel."""
    shape = packed.about["shape"]
    difference = np.frombuffer(zlib.decompress(base64.b64decode(packed.hu)), np.uint8).reshape(shape).astype(int)
    values = np.zeros((shape[0], shape[1] + 1, shape[2] + 1), int)
    for z, y, x in np.ndindex(*shape):
        a, b, c = values[z, y + 1, x], values[z, y, x + 1], values[z, y, x]
        expected = sorted([a, b, a + b - c])[1]
        values[z, y + 1, x + 1] = (difference[z, y, x] + expected) % 256
    labels = np.frombuffer(zlib.decompress(base64.b64decode(packed.labels)), np.uint8).reshape(shape)
    return np.array(packed.levels_hu)[values[:, 1:, 1:]], labels


def test_the_page_holds_hu_within_half_the_stated_rounding_and_labels_exactly():
    rng = np.random.default_rng(0)
    _, prediction, reference = (part[:, ::3, ::3] for part in arrays())
    ct = rng.normal(40, 300, prediction.shape)
    ct[5, 20, 20] = np.nan
    packed = volume.embed(Case(ct, prediction, reference, (5.0, 2.4, 3.75)), VIEWER_MB)
    hu, labels = unpacked(packed)
    true = geometry.crop(ct, packed.box)
    for low, high, rounding in ((-1050, -150, 30), (-150, 250, 2), (250, 1500, 50)):
        part = (true > low) & (true < high)
        assert part.sum() > 20
        assert np.abs(hu - true)[part].max() <= rounding / 2 + 0.5  # a whole HU is rounded first
    assert hu[np.isnan(true)] == -1050
    assert ((labels & 3) == geometry.crop(prediction, packed.box)).all()
    assert ((labels >> 2) == geometry.crop(reference, packed.box)).all()


@pytest.mark.parametrize("rounding", volume.ROUNDINGS_HU)
def test_every_rounding_has_256_levels_at_most(rounding):
    levels = volume.levels(rounding)
    assert len(levels) <= 256
    assert (np.diff(levels) > 0).all()
    assert set(np.diff(levels[(levels >= -150) & (levels <= 250)])) == {rounding}


def test_a_case_is_rounded_coarser_then_thinned_until_it_fits_and_the_page_says_so():
    rng = np.random.default_rng(0)
    _, prediction, _ = arrays()
    case = Case(rng.normal(40, 20, SHAPE), prediction, None, SPACING)
    sizes = []
    for megabytes in (1.0, 0.12, 0.04):
        packed = volume.embed(case, megabytes)
        sizes.append((packed.every, packed.rounding_hu))
        assert len(packed.hu) <= megabytes * 1.05e6  # reckoned from some of the slices
    assert sizes[0] == (1, 2)
    assert sizes[0] < sizes[1] < sizes[2]
    assert packed.every > 1
    assert f"one of {packed.every}. " not in packed.left_out
    assert f"of 20, one of {packed.every}, rows" in packed.left_out
    assert f"HU are rounded to {packed.rounding_hu} between -150 and 250" in packed.left_out
    assert packed.about["spacing"] == (5.0 * packed.every, 0.8, 1.25)


def test_what_is_kept_is_the_labelled_region_with_its_margin_or_the_body():
    ct, prediction, _ = arrays()
    packed = volume.embed(Case(ct, prediction, None, SPACING), VIEWER_MB)
    assert packed.box == ((0, 20), (0, 90), (4, 116))  # 4 to 16, 36 to 60, 28 to 92, and 30 mm
    nothing = volume.embed(Case(ct, np.zeros_like(prediction), None, SPACING), VIEWER_MB)
    assert nothing.box == ((0, 20), (0, 90), (0, 120))


# In a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def write_case(folder, name="case_00001"):
    """The files of a case, in another orientation than the page's."""
    ct, prediction, reference = arrays()
    affine = np.array([[1.25, 0, 0, 7], [0, -0.8, 0, 9], [0, 0, 5, 3], [0, 0, 0, 1]])  # RPS: (x, y, z) on disk
    files = []
    for kind, array in (("image", ct), ("prediction", prediction), ("reference", reference)):
        files.append(folder / f"{name}_{kind}.nii.gz")
        write_volume(files[-1], np.flip(array, (0, 2)).transpose(2, 1, 0), affine)
    return ReportCase(name, *files)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on one case with a reference, and one on two."""
    folder = tmp_path_factory.mktemp("viewer")
    case = write_case(folder)
    write_report(folder / "one.html", title="t", intro="", cases=[case])
    write_report(folder / "two.html", title="t", intro="", cases=[case, write_case(folder, "case_00002")])
    return folder


@pytest.fixture
def viewed(browser, report):
    """A page with its case opened, that must load nothing and report no error."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: "willReadFrequently" in message.text or wrong.append(message.text))  # our own
    page.goto((report / "one.html").as_uri())
    page.wait_for_selector(".viewer canvas")
    page.wait_for_function("document.querySelector('.viewer canvas').width > 300")
    page.evaluate("document.querySelector('.viewer').scrollIntoView()")
    yield page
    assert [url for url in asked if not url.startswith("data:")] == [(report / "one.html").as_uri()]
    assert wrong == []
    page.close()


AXES = {"axial": (1, 2), "coronal": (0, 2), "sagittal": (0, 1)}
START, KEPT = (0, 0, 4), (20, 90, 112)
PIXEL = """([plane, row, column]) => {
    const canvas = document.querySelector(`.viewer canvas.${plane}`);
    const [x, y] = [column * canvas.width, row * canvas.height].map(Math.floor);
    return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
}"""


def share(plane, zyx):
    """Where a voxel's centre is in a plane, as share of its height and width."""
    return [(zyx[axis] - START[axis] + 0.5) / KEPT[axis] for axis in AXES[plane]]


def pixel(page, plane, zyx):
    return page.evaluate(PIXEL, [plane, *share(plane, zyx)])


def point(page, plane, zyx):
    """(x, y) of a voxel in the window."""
    box = page.locator(f".viewer canvas.{plane}").bounding_box()
    row, column = share(plane, zyx)
    return box["x"] + column * box["width"], box["y"] + row * box["height"]


def slices(page):
    """Number of the slice that each plane shows, from 1."""
    return [int(page.locator(f".viewer canvas.{plane}").get_attribute("aria-valuenow")) for plane in AXES]


def status(page):
    return page.locator(".viewer .status").text_content()


def grey(hu, window="kidney"):
    level, width = WINDOWS_HU[window]
    return float(np.clip((hu - level) / width + 0.5, 0, 1) * 255)


def near(colour, expected):
    return np.abs(np.array(colour) - np.broadcast_to(expected, 3)).max() <= 3


def blended(hu, colour, opacity=0.4):
    return (1 - opacity) * grey(hu) + opacity * np.array(colour)


def click(page, plane, zyx):
    page.mouse.click(*point(page, plane, zyx))


def test_known_voxels_have_their_grey_and_their_labels_colour_in_all_three_planes(viewed):
    click(viewed, "axial", (10, 50, 40))
    for plane in AXES:
        viewed.locator(".viewer .crosshair").uncheck()
        at = (10, 50, 40)  # of the tumour in both maps
        assert near(pixel(viewed, plane, at), blended(60, LABEL_COLOURS[Label.TUMOR]))
    assert near(pixel(viewed, "axial", (10, 42, 80)), blended(150, LABEL_COLOURS[Label.KIDNEY]))
    assert near(pixel(viewed, "axial", (10, 80, 60)), grey(-100))
    assert "60 HU · predicted: tumor · reference: tumor" in status(viewed)


def test_it_begins_where_the_pictures_are_cut_and_planes_have_the_aspect_of_the_patient(viewed):
    z, y, x = geometry.fullest_point(arrays()[2] == Label.TUMOR)
    assert slices(viewed) == [z + 1, y + 1, x + 1]
    scales = []
    for plane, (rows, columns) in AXES.items():
        box = viewed.locator(f".viewer canvas.{plane}").bounding_box()
        height, width = KEPT[rows] * SPACING[rows], KEPT[columns] * SPACING[columns]
        assert box["height"] / box["width"] == pytest.approx(height / width, rel=0.01)
        scales.append(box["width"] / width)
    assert max(scales) / min(scales) < 1.01  # one scale for all
    boxes = [viewed.locator(f".viewer canvas.{plane}").bounding_box() for plane in AXES]
    assert np.ptp([box["y"] + box["height"] / 2 for box in boxes]) <= 1  # beside each other


def test_wheel_and_keys_turn_the_slices(viewed):
    start = slices(viewed)[0]
    viewed.mouse.move(*point(viewed, "axial", (10, 50, 60)))
    before = viewed.evaluate("scrollY")
    viewed.mouse.wheel(0, 100)
    viewed.mouse.wheel(0, 100)
    assert slices(viewed)[0] == start + 2
    viewed.mouse.wheel(0, -100)
    assert slices(viewed)[0] == start + 1
    assert viewed.evaluate("scrollY") == before
    viewed.locator(".viewer canvas.axial").focus()
    for key, shown in (("Home", 1), ("ArrowDown", 2), ("PageDown", 12), ("ArrowUp", 11), ("PageUp", 1), ("End", 20)):
        viewed.keyboard.press(key)
        assert slices(viewed)[0] == shown
    assert viewed.locator(".viewer canvas.axial").get_attribute("aria-valuetext") == "axial slice 20 of 20"
    assert near(pixel(viewed, "axial", (19, 25, 60)), grey(700))  # bone, which only the lower slices have
    viewed.keyboard.press("Home")
    assert near(pixel(viewed, "axial", (0, 25, 60)), grey(-100))
    viewed.keyboard.press("Tab")
    assert viewed.evaluate("document.activeElement.className") == "coronal"


def test_a_click_moves_the_crosshair_of_all_planes(viewed):
    click(viewed, "axial", (10, 47, 85))
    assert slices(viewed)[1:] == [48, 86]
    click(viewed, "coronal", (6, 47, 85))
    assert slices(viewed) == [7, 48, 86]
    assert "10 HU · predicted: cyst" in status(viewed)


def test_dragging_turns_slices_or_sets_the_window_and_the_right_button_always_does(viewed):
    at = slices(viewed)[0]
    x, y = point(viewed, "axial", (10, 50, 60))

    def drag(right, down, button="left"):
        viewed.mouse.move(x, y)
        viewed.mouse.down(button=button)
        viewed.mouse.move(x + right, y + down, steps=3)
        viewed.mouse.up(button=button)

    drag(0, 24)
    assert slices(viewed)[0] == at + 3  # 8 pixels a slice, where there are few
    drag(50, -10, "right")
    assert viewed.locator(".viewer .window").text_content() == "level 20, width 500 HU"
    assert viewed.locator(".viewer .preset").input_value() == ""
    viewed.locator(".viewer .tool").select_option("window")
    drag(-100, 10)
    assert viewed.locator(".viewer .window").text_content() == "level 40, width 300 HU"
    assert slices(viewed)[0] == at + 3


@pytest.mark.parametrize("window", WINDOWS_HU)
def test_presets_change_the_greys(viewed, window):
    viewed.locator(".viewer .crosshair").uncheck()
    for name in ("prediction", "reference"):
        viewed.locator(f".viewer .{name}").uncheck()
    viewed.locator(".viewer .preset").select_option(label=window)
    for at, hu in (((10, 50, 40), 60), ((10, 42, 80), 150), ((10, 80, 60), -100), ((10, 25, 60), 700)):
        assert near(pixel(viewed, "axial", at), grey(hu, window))


def test_overlays_go_off_and_on_fade_and_become_contours(viewed):
    viewed.locator(".viewer .crosshair").uncheck()
    middle, colour = (10, 50, 40), LABEL_COLOURS[Label.TUMOR]
    viewed.locator(".viewer .opacity").fill("80")
    assert near(pixel(viewed, "axial", middle), blended(60, colour, 0.8))
    viewed.locator(".viewer .style").select_option("contour")
    assert near(pixel(viewed, "axial", middle), grey(60))
    viewed.locator(".viewer .style").select_option("filled")
    viewed.locator(".viewer .prediction").uncheck()
    assert near(pixel(viewed, "axial", middle), grey(60))
    row, column = share("axial", (10, 50, 47.5))  # the right edge of the reference's tumour
    assert near(viewed.evaluate(PIXEL, ["axial", row, column]), colour)
    viewed.locator(".viewer .reference").uncheck()
    assert not near(viewed.evaluate(PIXEL, ["axial", row, column]), colour)
    viewed.locator(".viewer canvas.axial").focus()
    viewed.keyboard.press("o")
    assert viewed.locator(".viewer .prediction").is_checked()


def test_the_difference_shows_where_prediction_and_reference_differ(viewed):
    viewed.locator(".viewer .crosshair").uncheck()
    viewed.locator(".viewer .reference").uncheck()
    viewed.locator(".viewer .difference").check()
    other = DIFFERENCE_COLOURS["another label"]
    assert near(pixel(viewed, "axial", (10, 50, 30)), blended(150, other))  # tumour in place of kidney
    assert near(pixel(viewed, "axial", (10, 50, 47)), blended(60, other))  # kidney in place of tumour
    assert near(pixel(viewed, "axial", (10, 50, 40)), blended(60, LABEL_COLOURS[Label.TUMOR]))  # both
    viewed.mouse.move(*point(viewed, "axial", (10, 50, 30)))
    assert "predicted: tumor · reference: kidney · another label" in status(viewed)


def test_a_row_of_the_table_leads_to_its_lesion_with_its_diameter(viewed):
    viewed.locator("tr[data-target]", has_text="cyst 1").first.locator("button").click()
    z, y, x = (at - 1 for at in slices(viewed))
    assert arrays()[1][z, y, x] == Label.CYST
    cells = viewed.locator("tr[data-target]", has_text="cyst 1").first.locator("td").all_text_contents()
    shown = float(re.search(r"distance ([\d.]+) mm", status(viewed))[1])
    assert round(shown / 10, 1) == float(cells[2])
    # 10 x 1.25 mm by 8 x 0.8 mm: the surface lies half a voxel beyond the centres, along each axis
    assert shown == pytest.approx(np.hypot(9 * 1.25 + 1.25, 7 * 0.8), abs=0.8)


def test_a_distance_is_that_of_the_spacing(viewed):
    viewed.locator(".viewer .tool").select_option("distance")
    for plane, start, stop in (
        ("axial", (10, 20, 30), (10, 60, 80)),
        ("coronal", (2, 50, 30), (14, 50, 30)),
        ("sagittal", (2, 20, 40), (12, 70, 40)),
    ):
        viewed.mouse.move(*point(viewed, plane, start))
        viewed.mouse.down()
        viewed.mouse.move(*point(viewed, plane, stop), steps=3)
        viewed.mouse.up()
        expected = np.linalg.norm((np.array(stop) - start) * SPACING)
        shown = float(re.search(r"distance ([\d.]+) mm", status(viewed))[1])
        assert shown == pytest.approx(expected, abs=0.7)  # a pixel of the window is about 0.35 mm
    viewed.locator(".viewer canvas.sagittal").focus()
    viewed.keyboard.press("Escape")
    assert "distance" not in status(viewed)


def test_a_distance_is_measured_by_keys_alone(viewed):
    click(viewed, "axial", (10, 50, 40))
    click(viewed, "coronal", (4, 50, 40))
    viewed.keyboard.press("d")
    viewed.keyboard.press("PageDown")  # ten columns of the coronal plane's axis: from front to back
    viewed.locator(".viewer canvas.axial").focus()
    for _ in range(3):
        viewed.keyboard.press("ArrowDown")
    viewed.keyboard.press("d")
    assert f"distance {np.hypot(10 * 0.8, 3 * 5.0):.1f} mm" in status(viewed)


def test_touch_turns_the_slices_and_nothing_is_wider_than_a_phone(browser, report, tmp_path):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto((report / "one.html").as_uri())
    page.wait_for_selector(".viewer canvas.axial")
    assert page.locator(".viewer canvas:visible").count() == 1  # one plane at first, where there is little room
    at = slices(page)[0]
    page.locator(".viewer canvas.axial").scroll_into_view_if_needed()
    x, y = point(page, "axial", (10, 40, 60))
    devtools = context.new_cdp_session(page)
    for kind, down in (("touchStart", 0), ("touchMove", 12), ("touchMove", 24), ("touchEnd", None)):
        touches = [] if down is None else [{"x": x, "y": y + down}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    page.wait_for_function(f"document.querySelector('canvas.axial').ariaValueNow != {at}")
    assert slices(page)[0] > at
    page.locator(".viewer .layout").select_option("all")
    page.locator(".viewer .difference").check()
    assert page.locator(".viewer canvas:visible").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    lefts = [page.locator(f".viewer canvas.{plane}").bounding_box() for plane in AXES]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in lefts)
    context.close()


def test_printed_and_without_scripts_the_pictures_are_there(browser, report, viewed):
    def pictures(page):
        return [page.locator(f"article {part}").first.is_visible() for part in (".planes img", ".slices .overlay")]

    assert pictures(viewed) == [False, False]  # the viewer has their place
    viewed.emulate_media(media="print")
    assert pictures(viewed) == [True, True]
    assert not viewed.locator(".viewer").is_visible()
    printed = viewed.pdf(format="A4")
    assert printed.count(b"/Subtype /Image") >= 3 + 12  # three planes, and the slices
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((report / "one.html").as_uri())
    assert pictures(page) == [True, True]
    assert not page.locator("button").first.is_visible()
    context.close()


def test_a_thinned_case_says_which_slices_it_has_and_one_without_labels_can_be_opened(browser, tmp_path):
    case = write_case(tmp_path)
    noise = np.random.default_rng(0).normal(40, 40, SHAPE)
    _, prediction, _ = arrays()
    prediction[0, 0, 0] = prediction[-1, -1, -1] = Label.KIDNEY  # nothing is cropped
    affine = np.diag([-1.25, -0.8, -5.0, 1.0])
    write_volume(case.image, noise.transpose(2, 1, 0), affine)
    for name, labels, megabytes in (("thin", prediction, 0.04), ("empty", np.zeros_like(prediction), 0.04)):
        write_volume(case.prediction, labels.transpose(2, 1, 0), affine)
        page_file = tmp_path / f"{name}.html"
        write_report(page_file, title="t", intro="", cases=[replace(case, reference=None)], viewer_mb=megabytes)
        every = int(re.search(r"of 20, one of (\d+), rows", page_file.read_text(encoding="utf-8"))[1])
        page = browser.new_page()
        wrong = []
        page.on("pageerror", lambda error, found=wrong: found.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_selector(".viewer canvas.axial")
        page.locator(".viewer canvas.axial").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        assert slices(page)[0] == 1 + every
        page.keyboard.press("End")
        assert slices(page)[0] == 1 + (19 // every) * every
        assert page.locator(".viewer .reference").count() == 0
        assert wrong == []
        page.close()


def test_one_case_is_open_at_a_time_and_none_of_several_before_it_is_asked_for(browser, report):
    page = browser.new_page()
    page.goto((report / "two.html").as_uri())
    assert page.locator(".viewer").count() == 0
    for button in page.locator("button.open").all():
        button.click()
        page.wait_for_selector(".viewer canvas")
        page.wait_for_timeout(50)
    assert page.locator(".viewer").count() == 1
    assert page.locator("article").nth(1).locator(".viewer").count() == 1
    page.locator(".viewer .close").click()
    assert page.locator(".viewer").count() == 0
    assert page.locator("article .planes").first.is_visible()
    page.close()


def test_the_pages_policy_lets_no_other_script_run_and_nothing_be_loaded(browser, report):
    page = browser.new_page()
    page.goto((report / "one.html").as_uri())
    tried = page.evaluate("""async () => {
        const blocked = [];
        document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.injected = true";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", '<b id="b" onclick="window.injected = true">x</b>');
        document.getElementById("b").click();
        const image = new Image();
        image.src = "http://127.0.0.1:9/a.png";
        await fetch("http://127.0.0.1:9/").catch(() => null);
        await new Promise((done) => setTimeout(done, 50));
        return [window.injected === undefined, blocked.sort()];
    }""")
    assert tried == [True, ["connect-src", "img-src", "script-src-attr", "script-src-elem"]]
    page.close()


def test_a_hostile_name_stays_text_in_the_viewer(browser, tmp_path):
    evil = """x" onerror='alert(1)' <script>alert(2)<!script> <b>&`y`""".replace("/", "!")
    case = write_case(tmp_path, "plain")
    write_report(
        tmp_path / "r.html",
        title="t",
        intro="",
        cases=[ReportCase(evil, case.image, case.prediction, case.reference)],
    )
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not {"onerror", "onclick"} & Elements(text).attributes
    page = browser.new_page()
    said = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto((tmp_path / "r.html").as_uri())
    page.wait_for_selector(".viewer canvas")
    assert page.locator(".viewer").get_attribute("aria-label") == f"Slices of {evil}"
    assert page.locator("article b").count() == 0
    assert said == []
    page.close()


def test_without_a_viewer_there_is_no_script_in_the_page(tmp_path):
    write_report(tmp_path / "r.html", title="t", intro="", cases=[write_case(tmp_path)], viewer_mb=0)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "script-src" not in text
    assert "default-src &#39;none&#39;" in text
