"""What people expect of a package: metadata that agree with one another, and ``mlgle --version`` anywhere."""

import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import jinja2
import pytest

import mlgle_lammps
from mlgle_lammps import cli
from mlgle_lammps.commands import versions

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
SOURCE = ROOT / "mlgle_lammps"
DOI = "10.1016/j.jcp.2024.113210"
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}


@pytest.fixture(scope="module")
def yaml():
    return pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def package():
    spec = importlib.util.spec_from_file_location("package_script", ROOT / ".ci" / "package.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def requirement(text):
    """Name and least version of a requirement such as "lammps[mpi]>=2025.7.22"."""
    found = re.match(r"([\w.-]+)(?:\[[\w,]+\])? ?>=([\w.]+)", text)
    assert found
    return found.groups()


def numbers(version):
    return [int(part) for part in version.split(".")]


# mlgle --version


def told_version(capsys):
    assert cli.main(["--version"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    return first, {line.split()[0]: line.split(maxsplit=1)[1] for line in others}


def test_version_names_what_is_installed(capsys):
    first, told = told_version(capsys)
    assert first == f"mlgle {mlgle_lammps.__version__}"
    assert list(told) == ["Python", "LAMMPS", "mpi4py", "MPI", "torch", "devices"]
    for name, distribution in (("LAMMPS", "lammps"), ("mpi4py", "mpi4py"), ("torch", "torch")):
        assert told[name] == importlib.metadata.version(distribution)
    assert re.search(r"\w+ v?\d+\.\d+", told["MPI"])
    assert told["devices"].startswith("cpu (")


def test_version_where_nothing_is_installed():
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mlgle_lammps.cli import main; main(['--version'])"
    told = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (0, "")
    for name in ("LAMMPS", "mpi4py", "MPI", "torch"):
        assert re.search(rf"^  {name} +not installed", told.stdout, re.MULTILINE), told.stdout
    assert re.search(r"^  devices cpu \(\d+ cores\); .*without torch$", told.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise OSError('libcudart.so.13: cannot open shared object file')", "OSError: libcudart.so.13: cannot open"),
        ("import os; os.abort()", "the process ended with -6"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
        ("import sys; sys.exit('one\\ntwo\\x1b[31m')", "two?[31m"),
    ],
)
def test_version_outlives_a_torch_and_an_mpi_that_do_not_work(monkeypatch, capsys, program, said):
    monkeypatch.setattr(versions, "GPUS", program)
    monkeypatch.setattr(versions, "MPI", program)
    monkeypatch.setattr(versions, "PATIENCE", 0.5 if "sleep" in program else 60.0)
    _, told = told_version(capsys)
    assert told["MPI"].startswith(f"not usable: {said}")
    assert f"torch cannot be used: {said}" in told["devices"]


def test_version_names_every_gpu(monkeypatch):
    monkeypatch.setattr(versions, "GPUS", "print('cuda:0 A (80 GiB)'); print('cuda:1 B (40 GiB)')")
    assert re.fullmatch(r"cpu \(\d+ cores\), cuda:0 A \(80 GiB\), cuda:1 B \(40 GiB\)", versions.devices())


def test_the_version_of_a_module_that_no_installer_brought(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in (("by_hand", "import nothing_there\n__version__ = 20250722\n"), ("silent", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "only_a_folder").mkdir()
    assert versions.package_version("by_hand") == f"20250722 ({tmp_path / 'by_hand' / '__init__.py'})"
    assert versions.package_version("silent").startswith("of unknown version (")
    assert versions.package_version("only_a_folder") == "not installed"


def test_asking_for_the_version_imports_nothing_heavy():
    program = (
        "import sys; from mlgle_lammps import cli; from mlgle_lammps.commands import versions; "
        "versions.GPUS = versions.MPI = ''; cli.main(['--version']); "
        "print(sorted({'torch', 'numpy', 'mpi4py', 'lammps'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert told.stdout.splitlines()[-1:] == ["[]"], told.stderr


# Metadata


def test_the_version_stands_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "mlgle_lammps.__version__"}
    for name in ("CITATION.cff", "conda/meta.yaml", "README.md"):
        assert mlgle_lammps.__version__ not in (ROOT / name).read_text(encoding="utf-8"), name


def test_the_changelog_has_a_dated_section_for_the_version_below_what_is_unreleased():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(mlgle_lammps.__version__)} - \d{{4}}-\d\d-\d\d", headings[1])


def test_classifiers_agree_with_what_is_declared():
    classifiers = PROJECT["classifiers"]
    assert "Typing :: Typed" in classifiers
    assert (SOURCE / "py.typed").is_file()
    assert not any(name.startswith("License ::") for name in classifiers)  # an SPDX expression excludes them
    least = numbers(requirement(f"python{PROJECT['requires-python']}")[1])
    minors = [numbers(name.split(" :: ")[-1]) for name in classifiers if re.search(r":: 3\.\d+$", name)]
    assert min(minors) == least


def test_every_extra_says_what_it_is_for():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    for name in PROJECT["optional-dependencies"]:
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"{name} = [")]
        assert lines[at - 1].startswith("# ")


def test_constraints_hold_a_version_of_every_requirement_that_satisfies_it():
    files = (ROOT / "constraints.txt", ROOT / "docs" / "constraints.txt")
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    held = {name.lower().replace("_", "-"): version for name, _, version in (line.partition("==") for line in lines)}
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    for text in PROJECT["dependencies"] + [text for text in extras if not text.startswith("mlgle_lammps[")]:
        name, least = requirement(text)
        assert numbers(held[name.lower()]) >= numbers(least), text


def test_no_version_is_pinned_twice():
    files = (ROOT / "constraints.txt", ROOT / "docs" / "constraints.txt")
    first, second = ({line.partition("==")[0].lower() for line in path.read_text().splitlines()} for path in files)
    assert not first & second


def test_data_files_of_the_package_are_package_data():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    data = [path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert {path.name for path in data} >= {"page.html", "report.html", "py.typed"}
    for path in data:
        owner = ".".join(path.parent.relative_to(ROOT).parts)
        assert any(fnmatch(path.name, pattern) for pattern in patterns.get(owner, [])), path


def test_citation(yaml):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["doi"] == DOI
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert DOI in readme
    assert all(author["family-names"] in readme for author in paper["authors"])


def test_issue_forms_are_forms(yaml):
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in folder.glob("*.yml")}
    assert set(forms) == {"config", "bug", "wrong-number", "question"}
    assert set(forms.pop("config")) <= {"blank_issues_enabled", "contact_links"}
    for form in forms.values():
        assert {"name", "description", "body"} <= set(form) <= {"name", "description", "title", "labels", "body"}
        fields = {field["id"]: field for field in form["body"]}
        assert len(fields) == len(form["body"])
        assert fields["version"]["attributes"]["label"] == "What `mlgle --version` says"
        for field in fields.values():
            assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
            assert isinstance(field["attributes"]["label"], str)
            options = field["attributes"].get("options", [])
            assert all(isinstance(option["label"], str) for option in options)
    assert {"deck", "result"} <= {field["id"] for field in forms["bug"]["body"]}


def test_hosted_ci_calls_what_the_repository_has(yaml):
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = [step for job in flow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert ".ci/run" in commands
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [command.split()[1] for command in commands if command.startswith("make ")]
    assert targets == ["package"]
    assert re.search(r"^package:", makefile, re.MULTILINE)
    pythons = {step["with"]["python-version"] for step in steps if "python-version" in step.get("with", {})}
    assert pythons == {PROJECT["requires-python"].removeprefix(">=")}


def test_the_conda_recipe_asks_for_what_pyproject_asks_for(yaml):
    def load_file_regex(load_file, regex_pattern, from_recipe_dir):
        assert from_recipe_dir
        return re.search(regex_pattern, (ROOT / "conda" / load_file).read_text(encoding="utf-8"))

    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(jinja2.Template(text).render(load_file_regex=load_file_regex, PYTHON="python"))
    assert recipe["package"] == {"name": PROJECT["name"], "version": mlgle_lammps.__version__}
    wanted = {requirement(text) for text in (f"python{PROJECT['requires-python']}", *PROJECT["dependencies"])}
    # conda-forge numbers LAMMPS by its date alone, and builds it against the MPI that the solver picks
    wanted = {(name, ".".join(least.split(".")[:3]) if name == "lammps" else least) for name, least in wanted}
    assert {requirement(text) for text in recipe["requirements"]["run"]} == {
        (CONDA_NAMES.get(name, name), least) for name, least in wanted
    }
    trajectories = {requirement(text.lower()) for text in PROJECT["optional-dependencies"]["trajectories"]}
    assert {requirement(text) for text in recipe["requirements"]["run_constrained"]} == trajectories
    assert recipe["build"]["entry_points"] == [f"{name} = {what}" for name, what in PROJECT["scripts"].items()]
    assert recipe["about"]["summary"] == PROJECT["description"]


# What make package looks for


def archive(path, names):
    """A wheel or an sdist that holds empty files of these names."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, "")
    else:
        with tarfile.open(path, "w:gz") as file:
            for name in names:
                file.addfile(tarfile.TarInfo(f"mlgle_lammps-9/{name}"), io.BytesIO(b""))
    return path


@pytest.mark.parametrize(
    ("without", "besides", "complaint"),
    [
        ("mlgle_lammps/report/page.html", (), "does not hold mlgle_lammps/report/page.html"),
        ("mlgle_lammps/py.typed", (), "does not hold mlgle_lammps/py.typed"),
        ("mlgle_lammps/cli.py", (), "does not hold mlgle_lammps/cli.py"),
        ("mlgle_lammps-9.dist-info/entry_points.txt", (), "holds no entry_points.txt"),
        (None, ("tests/test_x.py",), "holds what is not in the checkout: tests/test_x.py"),
    ],
)
def test_a_wheel_that_is_not_the_package_is_refused(package, tmp_path, without, besides, complaint):
    metadata = {f"mlgle_lammps-9.dist-info/{name}" for name in ("METADATA", "entry_points.txt", "licenses/LICENSE")}
    whole = package.files_below(SOURCE) | metadata
    assert package.check_wheel(archive(tmp_path / "whole.whl", whole)) == len(whole)
    with pytest.raises(package.Complaint, match=re.escape(complaint)):
        package.check_wheel(archive(tmp_path / "wrong.whl", whole - {without} | set(besides)))


@pytest.mark.parametrize("without", ["tests/conftest.py", "lammps_inputs/kg.data", "constraints.txt", ".ci/run"])
def test_an_sdist_without_what_tests_need_is_refused(package, tmp_path, without):
    whole = set(package.FILES).union(*(package.files_below(ROOT / folder) for folder in package.FOLDERS))
    assert package.check_sdist(archive(tmp_path / "whole.tar.gz", whole | {"PKG-INFO"})) == len(whole) + 1
    with pytest.raises(package.Complaint, match=f"does not hold {re.escape(without)}"):
        package.check_sdist(archive(tmp_path / "wrong.tar.gz", whole - {without}))


@pytest.mark.slow
def test_wheel_and_sdist_are_built_whole(package, tmp_path):
    wheel, sdist = package.build(tmp_path)
    assert wheel.name.split("-")[1] == mlgle_lammps.__version__
    assert package.check_wheel(wheel) < package.check_sdist(sdist)
