"""The package's rooms: their order, and that none imports from a later one."""

import pytest

from pipeline import REPOSITORY
from speechprompt.storage import code_digest

PACKAGE = REPOSITORY / "src" / "speechprompt"
# In the order data flows. A room imports from those before it only.
ROOMS = (
    *("errors", "storage", "runtime", "audio", "downloads", "config", "corpora", "encoders"),
    *("units", "training", "pretraining", "lm", "models", "tasks", "prompting", "downstream"),
    *("evaluation", "report", "predict", "inspect", "cli", "workflow"),
)
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)


def test_the_root_holds_the_rooms_and_nothing_else():
    found = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert found == {"__init__.py", "py.typed", "errors.py", *ROOMS[1:]}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_a_module_imports_from_its_own_and_earlier_rooms(module):
    room = module.split(".")[0]
    tree = code_digest._tree(module.removesuffix(".__init__"))
    imported = {f"{found}.{name}" if name else found for found, name in code_digest._imports(tree)}
    for used in sorted(imported - {""}):
        earlier = ROOMS.index(used.split(".")[0]) <= ROOMS.index(room)
        assert earlier, f"{module} imports {used}"


def test_the_contributors_page_lists_the_rooms_in_this_order():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    listed = [line.split()[0].rstrip("/") for line in text.splitlines() if line.startswith("    ")]
    assert [name.removesuffix(".py") for name in listed if name.removesuffix(".py") in ROOMS] == [
        *ROOMS
    ]
