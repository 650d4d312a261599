"""What the documentation says of files, commands, trainers and presets is true. No torch, no nnU-Net is imported."""

import importlib.metadata
import json
import re
import shlex
from pathlib import Path

import pytest

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.augmentation.sets import KINDS, set_names
from nnunet_kits.cli.main import parser
from nnunet_kits.inference import system
from nnunet_kits.inference.tiling import Windows
from nnunet_kits.losses import LOSSES
from nnunet_kits.planning.presets import CONFIGURATION_KEYS, OPTIONAL_KEYS, load_preset, preset_names
from nnunet_kits.recipes import RunSettings, load_recipe, recipe, recipe_names, steps_of
from nnunet_kits.training.names import parse_trainer_name
from nnunet_kits.training.optimisation import OPTIMISATIONS
from nnunet_kits.training.settings import SETTINGS
from nnunet_kits.training.trainers import NAMED_TRAINERS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SHELL_ENDS = ("&&", "||", "|", ";", ")", ">", ">>")

OTHERS = ("nnUNetTrainer", "nnUNet_extTrainer", "KitsTrainer", "WideUNetTrainer")
"""Words that end like our trainers and are none; the last is the documentation's example of a new one."""

README_COMMANDS = (
    "python3 -m venv .venv && . .venv/bin/activate && pip install . && nnunet_kits demo",
    "python3 -m venv .venv && . .venv/bin/activate && pip install '.[test]' && pytest",
)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def text(page):
    return page.read_text(encoding="utf-8")


def fences(page, *languages):
    """Contents of the page's code blocks in these languages."""
    return [body for language, body in FENCE.findall(text(page)) if language in languages]


def commands(page, program):
    """Words after ``program`` (a pattern) of every command in the page's bash blocks: (program, words)."""
    found = []
    for block in fences(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.replace('"$(', "( ").replace(')"', " )"), posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            words = list(lexer)
            for start, word in enumerate(words):
                if re.fullmatch(program, word):
                    rest = words[start + 1 :]
                    end = next((i for i, w in enumerate(rest) if w in SHELL_ENDS), len(rest))
                    found.append((word, rest[:end]))
    return found


def anchors(page):
    """The anchors that a page's headings get: lower case, blanks as hyphens, no punctuation."""
    prose = FENCE.sub("", text(page))
    headings = re.findall(r"^#+ +(.+?) *$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page):
    """(file, anchor) of every relative link."""
    for target in LINK.findall(FENCE.sub("", text(page))):
        if not re.match(r"\w+:", target):
            file, _, anchor = target.partition("#")
            yield (page.parent / file).resolve() if file else page, anchor


def is_taken(words):
    """Whether our command line takes these words; argparse leaves by SystemExit for help (0) and for errors (2)."""
    try:
        parser().parse_args(words)
    except SystemExit as end:
        return end.code == 0
    return True


def verbs():
    (subparsers,) = (action for action in parser()._actions if hasattr(action, "add_parser"))
    return subparsers.choices


# links


@each_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    for file, anchor in links(page):
        assert file.exists(), f"{name_of(page)}: {file}"
        assert not anchor or anchor in anchors(file), f"{name_of(page)}: {file.name}#{anchor}"


def test_every_page_of_docs_is_linked_from_the_index():
    linked = {file for file, _ in links(DOCS / "index.md")}
    assert {page for page in PAGES if page.is_relative_to(DOCS)} - linked == {DOCS / "index.md"}


@each_page
def test_every_path_of_the_repository_that_is_named_exists(page):
    named = re.findall(r"`((?:nnunet_kits|tests|docs|dataset_conversion|benchmarks)/[\w./-]*)`", text(page))
    named = [path for path in named if "NNN" not in path]
    assert [path for path in named if not (ROOT / path).exists()] == []


PLACEHOLDER = re.compile(r"<<+\w*|>>>>+|\b(?:TODO|TBD|FIXME|XXX)\b|\?\?\?|\b[Ll]orem ipsum\b")


@each_page
def test_no_placeholder_and_no_mark_of_a_merge_is_left(page):
    assert PLACEHOLDER.findall(text(page)) == []


@pytest.mark.parametrize(
    "line", ["<<figure", "Takes ??? s.", "TODO: say why", "took XXX s", "<<<<<<< HEAD", ">>>>>>> main"]
)
def test_a_placeholder_is_noticed(line):
    assert PLACEHOLDER.search(line)


# commands


@each_page
def test_every_command_of_ours_is_taken_by_the_real_parser(page, capsys):
    refused = [words for _, words in commands(page, "nnunet_kits") if not is_taken(words)]
    assert refused == [], capsys.readouterr().err


@each_page
def test_every_nnunet_command_and_its_options_exist(page):
    nnunet = importlib.metadata.distribution("nnunetv2")
    known = {entry.name: entry.value for entry in nnunet.entry_points if entry.group == "console_scripts"}
    for program, words in commands(page, r"nnUNetv2_\w+"):
        assert program in known, f"{name_of(page)}: {program}"
        module = known[program].partition(":")[0].replace(".", "/") + ".py"
        source = Path(str(nnunet.locate_file(module))).read_text(encoding="utf-8")
        for option in (word for word in words if re.match(r"--?[a-z]", word)):
            assert f"'{option}'" in source or f'"{option}"' in source, f"{name_of(page)}: {program} {option}"


def test_commands_are_found_behind_shell_syntax(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '```bash\neval "$(nnunet_kits env --root a)"  # nnunet_kits no\n'
        "for f in 0 1; do nnUNetv2_train 1 \\\n  x $f; done\n"
        "cd b && nnunet_kits demo || echo no\n```\n```text\nnnunet_kits nothing\n```\n"
    )
    assert commands(page, "nnunet_kits") == [("nnunet_kits", ["env", "--root", "a"]), ("nnunet_kits", ["demo"])]
    assert commands(page, r"nnUNetv2_\w+") == [("nnUNetv2_train", ["1", "x", "$f"])]


def test_the_readme_has_the_two_commands_word_for_word():
    lines = "".join(fences(ROOT / "README.md", "bash")).splitlines()
    assert [command for command in README_COMMANDS if command not in lines] == []


def test_every_verb_has_a_row_in_the_readme_and_a_section_in_the_reference():
    assert [verb for verb in verbs() if f"\n| `{verb}` |" not in text(ROOT / "README.md")] == []
    assert set(verbs()) <= anchors(DOCS / "reference" / "cli.md")


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb not in ("env", "doctor", "convert")])
def test_every_option_of_a_verb_is_in_its_section_of_the_reference(verb):
    section = re.split(r"^## ", text(DOCS / "reference" / "cli.md"), flags=re.MULTILINE)
    (section,) = (part for part in section if part.startswith(f"{verb}\n"))
    options = [option for action in verbs()[verb]._actions for option in action.option_strings]
    common = ("-h", "--help", "-v", "--verbose", "--quiet", "--json")
    assert [o for o in options if o not in common and not re.search(rf"`{o}[` ]", section)] == []


def test_the_options_of_every_verb_are_explained_before_the_verbs():
    before, _, _ = text(DOCS / "reference" / "cli.md").partition("\n## ")
    assert [o for o in ("-v", "--verbose", "--quiet") if f"`{o}`" not in before] == []


# trainers, presets, settings


@each_page
def test_every_trainer_that_is_named_can_be_composed(page):
    prose = FENCE.sub(lambda block: "" if block[1] == "text" else block[2], text(page))
    prose = prose.replace("__", " ")  # nnU-Net's separator in names of results folders
    for name in re.findall(r"(?<![\w<])\w+Trainer(?:_\w+)?\b(?!\[)", prose):
        if name not in OTHERS:
            parse_trainer_name(name)


@each_page
def test_every_preset_that_is_named_exists(page):
    assert set(re.findall(r"\bKiTS\w+Plans\b", text(page))) <= set(preset_names())


def test_every_named_trainer_and_preset_has_a_row_in_the_reference_and_is_named_in_the_readme():
    reference = text(DOCS / "reference" / "trainers.md") + text(DOCS / "reference" / "presets.md")
    names = (*NAMED_TRAINERS, *preset_names())
    assert [name for name in names if f"\n| `{name}` |" not in reference] == []
    assert [name for name in names if not re.search(rf"\b{name}(?![A-Za-z])", text(ROOT / "README.md"))] == []


def test_every_recipe_has_a_row_in_the_readme():
    rows = [line.split(" | ")[0] for line in text(ROOT / "README.md").splitlines() if line.startswith("| `")]
    assert [name for name in recipe_names() if not any(f"`{name}`" in row for row in rows)] == []


def test_every_part_of_a_trainer_has_a_row_in_the_reference():
    page = text(DOCS / "reference" / "trainers.md")
    assert [part for part in (*NETWORKS, *LOSSES, *OPTIMISATIONS) if f"\n| `{part}` |" not in page] == []


def test_the_reference_names_the_source_of_every_network_and_loss():
    page = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text(DOCS / "reference" / "trainers.md")).replace("\n", " ")
    assert [name for name, part in {**NETWORKS, **LOSSES}.items() if part.source not in page] == []


def test_every_augmentation_and_kind_has_a_row_in_the_reference():
    page = text(DOCS / "reference" / "augmentations.md")
    assert [name for name in (*set_names(), *KINDS) if f"\n| `{name}` |" not in page] == []
    for kind, rules in KINDS.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
        assert [key for key in rules if f"`{key}`" not in row.split(" | ")[1]] == []


def test_every_preset_key_and_training_setting_has_a_row_in_the_reference():
    page = text(DOCS / "reference" / "presets.md")
    assert [key for key in (*CONFIGURATION_KEYS, *OPTIONAL_KEYS, *SETTINGS) if f"\n| `{key}` |" not in page] == []


def test_every_system_and_every_key_of_one_has_a_row_in_the_reference():
    page = (ROOT / "docs" / "reference" / "systems.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    keys = {*system.KEYS, *system.STAGE_KEYS, *system.MEMBER_KEYS, *system.JOIN_KEYS, *Windows.__dataclass_fields__}
    assert rows == {*system.system_names(), *keys}
    for name in system.system_names():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert row.split(" | ")[1] == ", ".join(f"`{key}`" for key in system.load_system(name).keys)
    example = (ROOT / "docs" / "how-to" / "predict-with-several-models.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", example, re.DOTALL)
    assert system.parse_system("mine", json.loads(block), "mine.json").keys == ["a", "b"]


def test_every_recipe_and_every_key_of_one_has_a_row_in_the_reference():
    rows = re.findall(r"^\| `(\w+)` \|", text(DOCS / "reference" / "recipes.md"), re.MULTILINE)
    tables = [table for table in vars(recipe).values() if isinstance(table, type) and issubclass(table, recipe.Table)]
    keys = [key for table in tables for key in table.model_fields if (table, key) != (recipe.Recipe, "name")]
    assert sorted(rows) == sorted([*recipe_names(), *keys])


def test_the_page_of_published_systems_runs_all_of_them_and_shows_what_one_prints():
    page = DOCS / "how-to" / "run-a-published-system.md"
    published = [name for name in recipe_names() if not load_recipe(name).source.startswith("ours")]
    assert sorted(words[1] for _, words in commands(page, "nnunet_kits") if words[0] == "run") == published
    (shown,) = fences(page, "text")
    settings = RunSettings(Path("/home/me/nnunet"), Path("/home/me/kits19"))
    printed = [shlex.join(step.command) for step in steps_of(load_recipe("kits19_chenjin_unet2d"), settings)]
    assert re.sub(r" \\\n +", " ", shown).splitlines() == printed


@pytest.mark.parametrize("name", preset_names())
def test_the_table_of_presets_says_what_the_presets_say(name):
    page = text(DOCS / "reference" / "presets.md")
    preset = load_preset(name)
    assert f"\n| `{name}` | {preset.features_first}, doubling to at most {preset.features_max} |" in page
    for configuration, given in preset.configurations.items():
        if "spacing_zyx_mm" in given:
            spacing = " x ".join(f"{v:g}" for v in given["spacing_zyx_mm"])
            patch = " x ".join(f"{v:g}" for v in given["patch_size"]) if "patch_size" in given else "by nnU-Net"
            dice, batch = "yes" if given["batch_dice"] else "no", given.get("batch_size", "by nnU-Net")
            row = f"| `{name}` | `{configuration}` | {spacing} | {patch} | {batch} | {dice} |"
            assert f"\n{row}\n" in page
