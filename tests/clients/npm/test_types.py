"""The page's modules keep to the types that they state, and so must who takes `relay.js`."""

import json
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RELAY_JS = HERE.parents[2] / "relay/web/relay.js"


def complaints(node: Path, project: Path) -> list[str]:
    """What the compiler says of the files of this project, a line each."""
    compiler = HERE / "node_modules/typescript/bin/tsc"
    ran = subprocess.run(
        [node, compiler, "--project", project, "--pretty", "false"],
        cwd=project.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    lines = ran.stdout.splitlines()
    assert ran.stderr == ""
    assert bool(lines) == bool(ran.returncode)
    return lines


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project elsewhere that has the module in it, and is as strict as can be."""
    (tmp_path / "relay.js").write_bytes(RELAY_JS.read_bytes())
    options = json.loads((HERE / "tsconfig.json").read_text())["compilerOptions"]
    (tmp_path / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": options, "include": ["*.ts"]})
    )
    return tmp_path


def test_all_modules_of_the_page_keep_to_their_types(node: Path) -> None:
    assert complaints(node, HERE / "tsconfig.json") == []


def test_a_project_that_takes_relay_js_is_told_its_types(node: Path, project: Path) -> None:
    (project / "right.ts").write_text("""
import { FollowError, TERMINAL, createParser, follow } from "./relay.js";

let text = "";
const reader = follow("gen_1", {
  onEvent: ({ type, id, data }) => { text += type + id + data.text; },
  onConnection: (state) => state === "paused",
  root: new URL("https://relay.example/"),
  token: async () => "prt_1",
  keep: { save: () => text, load: (value) => { text = value; } },
  connections: 3,
});
const generation = await reader.done.catch((error: unknown) => {
  if (error instanceof FollowError) return error.code.toUpperCase();
});
const after: string = reader.cursor;
createParser((frame) => TERMINAL.has(frame.type), (ms) => ms.toFixed())(after);
reader.close();
export { generation };
""")
    assert complaints(node, project / "tsconfig.json") == []


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ('follow("gen_1", {});', "'onEvent' is missing"),
        ('follow("gen_1", { onEvent() {}, conections: 3 });', "'conections' does not exist"),
        (
            'follow("gen_1", { onEvent() {}, onConnection: (state) => state === "closed" });',
            "have no overlap",
        ),
        ('follow("gen_1", { onEvent() {} }).cursor = "1.1.0";', "read-only property"),
        ('const code: number = new FollowError("gone").code;', "not assignable to type 'number'"),
    ],
)
def test_what_relay_js_does_not_take_is_found_before_it_runs(
    node: Path, project: Path, wrong: str, what: str
) -> None:
    (project / "wrong.ts").write_text(
        f'import {{ FollowError, follow }} from "./relay.js";\n{wrong}'
    )
    [line, *_] = complaints(node, project / "tsconfig.json")
    assert line.startswith("wrong.ts(2,")
    assert what in line
