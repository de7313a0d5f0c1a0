"""The files for systemd, Docker and Kubernetes: well formed, without rights they do not need, patient with streams."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from serving.cli.__main__ import parser

MANIFESTS = ("kubernetes.yaml", "kubernetes-voices.yaml")


@pytest.fixture(scope="module")
def deploy(repository: Path) -> Path:
    return repository / "serving" / "deploy"


@pytest.fixture(scope="module")
def objects(deploy):
    """Objects of the Kubernetes manifests by kind; no kind stands there twice."""
    found = [one for name in MANIFESTS for one in yaml.safe_load_all((deploy / name).read_text())]
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def options(objects, tmp_path_factory):
    """Options of the server in a pod, its configuration file read as it will be."""
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    folder = tmp_path_factory.mktemp("pod")
    for name, text in objects["ConfigMap"]["data"].items():
        (folder / name).write_text(text)
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "config")
    words = [word.replace(mount["mountPath"], str(folder)) for word in container["args"]]
    return parser().parse_args(words)


def test_pods_are_probed_and_drained(objects, options):
    deployment, service = objects["Deployment"], objects["Service"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # The process must have the time that it takes to drain, after the balancer's.
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > pause + options.drain
    (port,) = container["ports"]
    assert port["containerPort"] == options.port
    assert {service["spec"]["ports"][0]["targetPort"]} == {port["name"]}
    paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in paths.values()} == {port["name"]}
    assert {kind: probe["path"] for kind, probe in paths.items()} == {
        "startup": "/livez",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120  # for the first voice to open


def test_everything_chooses_the_pods_by_their_label(objects):
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])
    assert "replicas" not in objects["Deployment"]["spec"], "an apply would undo what the autoscaler has chosen"
    assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    backends = [path["backend"] for path in objects["Ingress"]["spec"]["rules"][0]["http"]["paths"]]
    assert {backend["service"]["name"] for backend in backends} == {objects["Service"]["metadata"]["name"]}


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_pods_have_no_rights_and_mount_what_they_name(objects, kind):
    pod = objects[kind]["spec"] if kind == "Pod" else objects[kind]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    claims = {
        volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume
    }
    assert claims == {objects["PersistentVolumeClaim"]["metadata"]["name"]}
    if kind == "Deployment":
        assert all(mounted[name]["readOnly"] for name in ("voices", "secrets", "config"))


def test_a_pod_asks_for_keys_and_is_called_by_its_names(objects, options):
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert Path(options.keys).parent == Path(options.resume_secret).parent == Path(places["secrets"])
    assert Path(options.voices) == Path(places["voices"])
    assert not options.no_keys
    names = set(options.allow_host)
    assert objects["Service"]["metadata"]["name"] in names
    assert {rule["host"] for rule in objects["Ingress"]["spec"]["rules"]} <= names
    assert options.trusted_proxy  # else pages behind TLS are of another origin, and all clients one
    assert options.public_metrics  # a scrape shows no key
    assert "/metrics" not in {path["path"] for path in objects["Ingress"]["spec"]["rules"][0]["http"]["paths"]}


def test_a_pod_may_take_what_its_options_let_it_take(objects, options):
    (container,) = (pod := objects["Deployment"]["spec"]["template"]["spec"])["containers"]
    (tmp,) = (volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
    interpreters = 32 * (options.threads + 2)
    most = options.memory + options.request_memory + interpreters + int(tmp.removesuffix("Mi"))
    for bound in ("requests", "limits"):
        assert container["resources"][bound]["memory"] == "1Gi"
    assert most <= 1024


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifests_follow_the_schemas_of_kubernetes(deploy, name):
    validate = pytest.importorskip("kubernetes_validate")  # large; not among what the tests install
    for one in yaml.safe_load_all((deploy / name).read_text()):
        validate.validate(one, validate.latest_version(), strict=True)


def test_the_image_has_no_compiler_and_no_root(deploy, repository):
    text = (deploy / "Dockerfile").read_text()
    _, build, final = re.split(r"(?m)^FROM ", text)
    assert "g++" in build
    assert not {"g++", "gcc", "make", "cmake", "build-essential", "git", "pip"} & set(re.split(r"[\s'\"]+", final))
    assert re.findall(r"(?m)^USER (.*)$", final) == ["10001"]
    assert "/opt/seqgen" in re.findall(r"COPY --from=build (\S+)", final)


def test_the_image_is_made_from_an_exact_one(deploy):
    text = (deploy / "Dockerfile").read_text()
    (base,) = re.findall(r"(?m)^ARG BASE=(.*)$", text)
    assert re.fullmatch(r"[a-z0-9./:-]+@sha256:[0-9a-f]{64}", base)
    assert [line.split()[0] for line in re.findall(r"(?m)^FROM (.*)$", text)] == ["${BASE}", "${BASE}"]


def test_the_image_asks_for_keys_and_says_whether_it_is_well(deploy):
    text = (deploy / "Dockerfile").read_text()
    (entry,), (command,), (health,) = (
        [yaml.safe_load(line) for line in re.findall(rf"(?m)^{key} (\[.*\])$", text)]
        for key in ("ENTRYPOINT", "CMD", r"HEALTHCHECK .* CMD")
    )
    options = parser().parse_args(command)
    assert options.host == "0.0.0.0"
    assert options.keys
    assert not options.no_keys
    assert entry == health[:1]
    assert parser().parse_args(health[1:]).url.endswith(f":{options.port}")
    assert int(re.findall(r"(?m)^EXPOSE (\d+)$", text)[0]) == options.port


def kept(path: str, patterns: list[str]) -> bool:
    """Whether a file goes to the builder: the last pattern that matches it, or a folder above it, decides."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    stays = True
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        names = [bare, bare.removeprefix("**/")]
        if any(fnmatch.fnmatchcase(one, name) for one in above for name in names):
            stays = pattern.startswith("!")
    return stays


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *((path, True) for path in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "serving/app.py")),
        ("seqgen/engine/CMakeLists.txt", True),
        ("serving/http/demo.html", True),
        *((path, False) for path in (".git/config", ".venv/bin/python", "keys.jsonl", "voices/demo/manifest.json")),
        *((path, False) for path in ("exp/a/checkpoint.pt", "data/x.wav", "tests/conftest.py", "egs/demo/run.sh")),
        ("serving/__pycache__/app.cpython-312.pyc", False),
        ("resume-secret", False),
        ("demo/out.wav", False),
    ],
)
def test_the_image_is_built_from_sources_and_nothing_else(repository, path, expected):
    lines = (repository / ".dockerignore").read_text().splitlines()
    assert kept(path, [line for line in lines if line and line[0] != "#"]) is expected


def test_all_that_the_image_copies_is_there_and_is_sent_to_the_builder(deploy, repository):
    lines = (repository / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and line[0] != "#"]
    copies = re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", (deploy / "Dockerfile").read_text())
    sources = [source for line in copies for source in line.split()]
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert needed | set(project["tool"]["scikit-build"]["wheel"]["packages"]) <= set(sources)
    for source in sources:
        assert (repository / source).exists()
        assert kept(source, patterns)


@pytest.fixture(scope="module")
def unit(deploy) -> dict[str, str]:
    return dict(re.findall(r"(?m)^(\w+)=(.*)$", (deploy / "seqgen-serve.service").read_text()))


def test_the_example_of_a_configuration_is_understood_and_fits_the_unit(deploy, unit):
    words = unit["ExecStart"].split()
    assert words[1:3] == ["serve", "--config"]
    assert Path(words[3]).parent == Path("/etc", unit["ConfigurationDirectory"])
    options = parser().parse_args(["serve", "--config", str(deploy / "serve.toml")])
    assert int(unit["TimeoutStopSec"]) > options.drain
    assert Path(options.voices).parent == Path(options.keys).parent == Path("/var/lib", unit["StateDirectory"])
    assert Path(options.uds).parent == Path("/run", unit["RuntimeDirectory"])
    megabytes = options.memory + options.request_memory + 32 * (options.threads + 2)
    assert (
        megabytes < 1024 * int(unit["MemoryHigh"].removesuffix("G")) < 1024 * int(unit["MemoryMax"].removesuffix("G"))
    )


def test_the_unit_is_hardened_reloads_and_has_a_user_of_its_own(unit, deploy):
    assert unit["NoNewPrivileges"] == unit["ProtectHome"] == unit["PrivateTmp"] == "yes"
    assert unit["ProtectSystem"] == "strict"
    assert unit["CapabilityBoundingSet"] == ""
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert unit["RestartForceExitStatus"] == "SIGHUP"  # before the server handles it
    assert int(unit["LimitNOFILE"]) > 4096
    rows = re.findall(r"(?m)^u (\S+) ", (deploy / "seqgen-serve.sysusers").read_text())
    assert rows == [unit["User"]]
    assert unit["User"] not in ("", "root")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_finds_nothing_wrong_with_the_unit(deploy, tmp_path):
    """Judged with a command that exists: what is installed here is not what is asked."""
    text = (deploy / "seqgen-serve.service").read_text()
    unit = tmp_path / "seqgen-serve.service"
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={shutil.which('true')}", text))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert complaints == []


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not here")
def test_systemd_makes_the_user(deploy, tmp_path):
    command = ["systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(deploy / "seqgen-serve.sysusers")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "seqgen" in done.stdout + done.stderr
