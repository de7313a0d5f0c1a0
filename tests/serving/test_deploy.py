"""The files for systemd, Docker and Kubernetes: well formed, without rights they do not need, patient with streams."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.cli.__main__ import parser


@pytest.fixture
def deploy(repository: Path) -> Path:
    return repository / "serving" / "deploy"


def drain(words):
    return parser().parse_args(words).drain


def test_pods_are_probed_drained_and_without_rights(deploy):
    deployment, service = yaml.safe_load_all((deploy / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # The process must have the time that it takes to drain, after the balancer's.
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > pause + drain(container["args"])
    port = parser().parse_args(container["args"]).port
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["targetPort"] == port
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": port}
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    assert mounted["voices"]["readOnly"]


def test_a_pod_may_take_what_its_options_let_it_take(deploy):
    deployment, *_ = yaml.safe_load_all((deploy / "kubernetes.yaml").read_text())
    (container,) = (pod := deployment["spec"]["template"]["spec"])["containers"]
    options = parser().parse_args(container["args"])
    (tmp,) = (volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
    interpreters = 32 * (options.threads + 2)
    most = options.memory + options.request_memory + interpreters + int(tmp.removesuffix("Mi"))
    for bound in ("requests", "limits"):
        assert container["resources"][bound]["memory"] == "1Gi"
    assert most <= 1024


def test_the_image_has_no_compiler_and_no_root(deploy, repository):
    text = (deploy / "Dockerfile").read_text()
    _, build, final = re.split(r"(?m)^FROM ", text)
    assert "g++" in build
    assert not {"g++", "gcc", "make", "cmake", "build-essential", "git", "pip"} & set(re.split(r"[\s'\"]+", final))
    assert re.findall(r"(?m)^USER (.*)$", final) == ["10001"]
    for source in re.findall(r"(?m)^COPY (?!--from)(\S+)", text):
        assert (repository / source).exists()
    assert "/opt/seqgen" in re.findall(r"COPY --from=build (\S+)", final)


def test_the_unit_leaves_time_to_drain_and_is_hardened(deploy):
    settings = dict(re.findall(r"(?m)^(\w+)=(.*)$", (deploy / "seqgen-serve.service").read_text()))
    words = settings["ExecStart"].split()
    assert int(settings["TimeoutStopSec"]) > drain(words[words.index("serve") :])
    assert settings["NoNewPrivileges"] == settings["ProtectHome"] == settings["PrivateTmp"] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["User"] not in ("", "root")


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
