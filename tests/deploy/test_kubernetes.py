"""Kubernetes manifests, put together by kustomize: valid by Kubernetes' own definitions, and hardened."""

import json
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from support.paths import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMA = json.loads((ROOT / "tests" / "schemas" / "kubernetes-v1.37.json").read_text())


def manifests(way):
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize", FOLDER / way]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build", FOLDER / way]
    else:
        pytest.skip("neither kubectl nor kustomize is installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def faults(manifest):
    schema = {"$ref": f"#/definitions/{SCHEMA['kinds'][manifest['kind']]}", "definitions": SCHEMA["definitions"]}
    validator = jsonschema.Draft7Validator(schema)
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(manifest)]


def plain_files():
    return [path for path in sorted(FOLDER.glob("*/*.yaml")) if path.name != "kustomization.yaml"]


@pytest.mark.parametrize("path", plain_files(), ids=lambda path: path.stem)
def test_a_file_is_yaml_of_a_known_kind(path):
    for manifest in yaml.safe_load_all(path.read_text()):
        assert manifest["kind"] in SCHEMA["kinds"]
        assert "status" not in manifest


@pytest.mark.parametrize("way", ["base", "one", "pool"])
def test_every_manifest_is_valid(way):
    for manifest in manifests(way):
        assert faults(manifest) == [], manifest["kind"]


def test_the_definitions_find_faults():
    [deployment] = [manifest for manifest in manifests("one") if manifest["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    assert any("imagee" in fault for fault in faults(deployment))


def test_every_file_is_used():
    for way in ("base", "one", "pool"):
        kustomization = yaml.safe_load((FOLDER / way / "kustomization.yaml").read_text())
        files = {path.name for path in (FOLDER / way).iterdir()} - {"kustomization.yaml"}
        assert files == {name for name in kustomization["resources"] if not name.startswith("../")}


@pytest.mark.parametrize("way", ["one", "pool"])
def test_pods_may_do_no_more_than_they_have_to(way):
    pods = [
        manifest["spec"]["template"]["spec"] for manifest in manifests(way) if manifest["kind"] in ("Deployment", "Job")
    ]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()


@pytest.mark.parametrize("way", ["one", "pool"])
def test_the_parts_fit_together(way):
    found = {}
    for manifest in manifests(way):
        found.setdefault(manifest["kind"], []).append(manifest)
    [deployment], [service] = found["Deployment"], found["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert container["ports"][0]["containerPort"] == 8017
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    # The server's own shutdown has to fit.
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 30 + 5
    if way == "one":
        [claim] = found["PersistentVolumeClaim"]
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert deployment["spec"]["strategy"]["type"] == "Recreate"
    else:
        [budget] = found["PodDisruptionBudget"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert deployment["spec"]["replicas"] > budget["spec"]["minAvailable"]
        [names] = found["ConfigMap"]
        assert container["envFrom"] == [{"configMapRef": {"name": names["metadata"]["name"]}}]


def test_a_gpu_can_be_asked_for(tmp_path):
    folder = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, folder)
    (folder / "mine").mkdir()
    (folder / "mine" / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../one]\ncomponents: [../gpu]\n"
    )
    [deployment] = [manifest for manifest in manifests(folder / "mine") if manifest["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert faults(deployment) == []
