"""What is applied to a cluster, as data: it fits Kubernetes' own schemas, the images, compose and the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import all_versions, validate
from pods import CHECKOUT, FOLDER, KUSTOMIZATION, MANIFESTS, SETTINGS, find_container, list_mounts, list_pods

from retraining.secret_sources import is_secret
from retraining.settings import Settings
from serving.metrics import Metrics
from serving.settings import PREFIX
from serving.settings import Settings as ServerSettings

COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yaml").read_text())
PODS = list_pods()
# Of the resource that compose has by a shorter name.
IN_COMPOSE = {"headlines-init": "init", "headlines-watch": "watch", "headlines-serving": "page"}
SCALED = MANIFESTS["ScaledObject", "headlines-serving"]["spec"]
RECORDED: dict[str, str] = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load((CHECKOUT / "deploy/prometheus/recorded.yml").read_text())["groups"]
    for rule in group["rules"]
}


def test_every_file_is_applied_or_given_to_the_chart() -> None:
    others = {"kustomization.yaml", "airflow-values.yaml", "airflow-values-gpu.yaml"}
    assert {path.name for path in FOLDER.iterdir()} == others | set(KUSTOMIZATION["resources"])
    assert all("namespace" not in one["metadata"] for one in MANIFESTS.values())


@pytest.mark.parametrize("version", [all_versions()[0], all_versions()[-1]])
@pytest.mark.parametrize("which", [which for which in MANIFESTS if which[0] != "ScaledObject"], ids="/".join)
def test_a_manifest_has_what_kubernetes_knows_and_nothing_else(which: tuple[str, str], version: str) -> None:
    validate(MANIFESTS[which], version, strict=True)


def test_what_keda_makes_of_the_scaled_object_is_an_autoscaler_that_kubernetes_takes() -> None:
    # As pkg/scaling and controllers/keda/hpa.go of kedacore/keda 2.17.2 make it; the scaled object has a schema there.
    metrics = [
        {
            "type": "External",
            "external": {
                "metric": {"name": f"s{number}-prometheus"},
                "target": {
                    "type": trigger["metricType"],
                    _camel(trigger["metricType"]): trigger["metadata"]["threshold"],
                },
            },
        }
        for number, trigger in enumerate(SCALED["triggers"])
    ]
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-headlines-serving"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **SCALED["scaleTargetRef"]},
            "minReplicas": SCALED["minReplicaCount"],
            "maxReplicas": SCALED["maxReplicaCount"],
            "metrics": metrics,
            "behavior": SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        },
    }
    validate(autoscaler, all_versions()[-1], strict=True)
    assert ("Deployment", SCALED["scaleTargetRef"]["name"]) in MANIFESTS
    # Applying the Deployment again would undo what the autoscaler has done.
    assert "replicas" not in MANIFESTS["Deployment", "headlines-serving"]["spec"]


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


def test_the_autoscaler_asks_for_what_prometheus_records_of_series_that_the_model_server_has() -> None:
    kinds = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    served = {f"{one.name}{end}" for one in Metrics()._registry.collect() for end in kinds.get(one.type, ())}
    for expression in RECORDED.values():
        assert set(re.findall(r"model_servers:\w+(?::\w+)?", expression)) <= set(RECORDED)
        assert set(re.findall(r"\bserving_\w+", expression)) <= served
    limits = {trigger["metadata"]["query"]: trigger["metadata"]["threshold"] for trigger in SCALED["triggers"]}
    # The limits themselves are in the recorded expressions.
    assert limits == {"model_servers:replicas_needed": "1", "model_servers:latency_ratio": "1"}
    assert set(limits) <= set(RECORDED)
    alarms = yaml.safe_load((CHECKOUT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    [busy] = [one for group in alarms for one in group["rules"] if one["alert"] == "HeadlinesModelServersBusy"]
    assert set(re.findall(r"model_servers:\w+", busy["expr"])) == set(limits)


def test_every_pod_runs_the_image_and_the_command_of_its_container_in_compose() -> None:
    assert PODS.keys() == IN_COMPOSE.keys()
    for name, service in IN_COMPOSE.items():
        container = find_container(name)
        assert f"{container['image']}:latest" == COMPOSE["services"][service]["image"]
        command = re.search(r"^CMD (.+)$", (CHECKOUT / "serving/Dockerfile").read_text(), re.MULTILINE)
        assert command
        expected = COMPOSE["services"][service].get("command") or yaml.safe_load(command[1])
        assert container["command"] == expected
    assert {one["name"] for one in KUSTOMIZATION["images"]} == {find_container(name)["image"] for name in PODS}


def test_every_setting_exists_and_is_said_as_in_compose() -> None:
    known = {field.upper() for field in Settings.model_fields}
    assert set(SETTINGS) - {"HOME"} <= known
    environment = COMPOSE["services"]["webserver"]["environment"]
    # Whom else compose would call otherwise: our model server, and the watch.
    others = {"SERVING_URLS", "METRICS_HOST", "EXECUTOR"}
    for name in SETTINGS.keys() & environment.keys() - others:
        assert SETTINGS[name] == environment[name], name
    assert environment.keys() - SETTINGS.keys() == {"BROKER_URL", "QUEUE_TRAINER"}, "both are in .env, if they are"
    server = {one["name"]: one.get("value") for one in find_container("headlines-serving")["env"]}
    assert set(server) <= {f"{PREFIX}{field.upper()}" for field in ServerSettings.model_fields}
    assert server["SERVING_DIR"] == SETTINGS["SERVING_DIR"]


def test_the_settings_of_the_pods_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    assert settings.serving_urls == (SETTINGS["SERVING_URLS"],)
    assert (settings.mlmd_host, settings.mlmd_port) == (settings.airflow_db_host, settings.airflow_db_port)
    assert settings.executor == "celery"


def test_no_secret_is_in_a_file_and_each_is_taken_from_the_one_that_env_makes() -> None:
    assert "Secret" not in {kind for kind, _ in MANIFESTS}
    secrets = {name.upper() for name, field in Settings.model_fields.items() if is_secret(field)}
    assert not secrets & set(SETTINGS)
    offered = set(re.findall(r"^#?\s?([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE))
    for name in PODS:
        container = find_container(name)
        for source in container.get("envFrom", ()):
            assert source in ({"secretRef": {"name": "headlines"}}, {"configMapRef": {"name": "headlines-settings"}})
        for one in container.get("env", ()):
            if "valueFrom" in one:
                assert one["valueFrom"]["secretKeyRef"]["name"] == "headlines"
                assert one["name"] == one["valueFrom"]["secretKeyRef"]["key"]
                assert one["name"] in offered
    # In compose, too, what the file says wins over .env.
    assert ["configMapRef" in one for one in find_container("headlines-init")["envFrom"]] == [False, True]


@pytest.mark.parametrize("name", PODS)
def test_no_pod_can_write_outside_its_volumes_or_come_to_more_rights(name: str) -> None:
    spec, container = PODS[name]["spec"], find_container(name)
    for dockerfile in ("Dockerfile", "serving/Dockerfile"):
        assert "useradd --uid 1000 " in (CHECKOUT / dockerfile).read_text()
    own = spec["securityContext"]
    assert (own["runAsNonRoot"], own["runAsUser"], own["runAsGroup"], own["fsGroup"]) == (True, 1000, 1000, 1000)
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert ("/tmp", "tmp", False) in list_mounts(container)
    assert "requests" in container["resources"]


def test_every_folder_is_a_claim_that_several_nodes_share_and_serving_cannot_write_models() -> None:
    claims = {name: one["spec"] for (kind, name), one in MANIFESTS.items() if kind == "PersistentVolumeClaim"}
    assert all(one["accessModes"] == ["ReadWriteMany"] for one in claims.values())
    mounted = {name: list(list_mounts(find_container(name))) for name in PODS}
    assert {claim for mounts in mounted.values() for _, claim, _ in mounts} == {*claims, "tmp"}
    compose = [volume.split(":")[-2:] for volume in COMPOSE["services"]["init"]["volumes"]]
    places = {path: read_only for path, claim, read_only in mounted["headlines-init"] if claim != "tmp"}
    assert places == {one[-2] if one[-1] == "ro" else one[-1]: one[-1] == "ro" for one in compose}
    assert mounted["headlines-watch"] == mounted["headlines-init"]
    assert ("/srv/models", "headlines-models", True) in mounted["headlines-serving"]
    for setting in ("STATE_DIR", "SERVING_DIR", "HOME"):
        assert any(
            Path(SETTINGS[setting]).is_relative_to(path)
            for path, _, read_only in mounted["headlines-init"]
            if not read_only
        )


def test_what_leads_to_pods_finds_them_at_ports_that_they_have() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in PODS.items()}
    for (kind, name), one in MANIFESTS.items():
        spec = one["spec"] if kind not in ("ConfigMap",) else {}
        selector = spec.get("podSelector") or spec.get("selector") or {}
        wanted = selector.get("matchLabels", selector)
        if wanted:
            found = [pod for pod in labels if wanted.items() <= labels[pod].items()]
            assert found == [name.removesuffix("-each")], (kind, name)
    for name in ("headlines-serving", "headlines-watch"):
        ports = {one["name"]: one for one in find_container(name)["ports"]}
        for one in MANIFESTS["Service", name]["spec"]["ports"]:
            target = ports[one["targetPort"]]
            assert (one["port"], one.get("protocol")) == (target["containerPort"], target.get("protocol"))
        notes = PODS[name]["metadata"]["annotations"]
        assert notes["prometheus.io/port"] in {str(one["containerPort"]) for one in ports.values()}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = find_container(name).get(probe, {}).get("httpGet")
            assert asked is None or asked["port"] in ports
    [rule] = MANIFESTS["NetworkPolicy", "headlines-serving"]["spec"]["ingress"]
    served = {one["name"]: one["containerPort"] for one in find_container("headlines-serving")["ports"]}
    assert {one["port"] for one in rule["ports"]} == set(served)
    fields = ServerSettings.model_fields
    assert served == {"http": fields["port"].default, "grpc": fields["grpc_port"].default}


def test_the_settings_call_services_by_their_names_and_ports() -> None:
    [serving] = [one for one in MANIFESTS["Service", "headlines-serving"]["spec"]["ports"] if one["name"] == "http"]
    each = MANIFESTS["Service", "headlines-serving-each"]["spec"]
    assert (each["clusterIP"], each["ports"]) == ("None", MANIFESTS["Service", "headlines-serving"]["spec"]["ports"])
    assert SETTINGS["SERVING_URLS"] == f"dns+http://headlines-serving-each:{serving['port']}"
    watch = MANIFESTS["Service", SETTINGS["METRICS_HOST"]]["spec"]["ports"]
    assert {str(one["port"]) for one in watch} == {SETTINGS["METRICS_PORT"]}
    assert {one.get("protocol", "TCP") for one in watch} == {"TCP", "UDP"}


def test_no_service_gives_pods_a_variable_that_is_a_setting() -> None:
    # Of a Service `serving` Kubernetes tells pods SERVING_PORT=tcp://10.0.0.1:8501 and more, unless it is asked not to.
    known = {field.upper() for field in Settings.model_fields} | {
        f"{PREFIX}{field.upper()}" for field in ServerSettings.model_fields
    }
    chart = [f"airflow-{name}" for name in ("redis", "scheduler", "triggerer", "webserver", "worker", "worker-gpu")]
    for name in [name for kind, name in MANIFESTS if kind == "Service"] + chart:
        begin = name.upper().replace("-", "_")
        assert not [one for one in known if one.startswith((f"{begin}_PORT", f"{begin}_SERVICE_"))]


def test_the_watch_is_probed_as_in_compose_and_runs_once() -> None:
    container = find_container("headlines-watch")
    _, *command = COMPOSE["services"]["watch"]["healthcheck"]["test"]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == command
    assert MANIFESTS["Deployment", "headlines-watch"]["spec"]["replicas"] == 1
    assert MANIFESTS["Deployment", "headlines-watch"]["spec"]["strategy"] == {"type": "Recreate"}


def test_a_model_server_is_given_the_time_to_end_and_is_ended_only_while_others_answer() -> None:
    spec = PODS["headlines-serving"]["spec"]
    given = {one["name"]: one.get("value") for one in find_container("headlines-serving")["env"]}
    options = {name: given.get(f"{PREFIX}{name.upper()}") for name in ("drain_seconds", "timeout_seconds")}
    server = ServerSettings(dir=Path("/srv"), **{name: value for name, value in options.items() if value})
    assert server.drain_seconds > 0 and spec["terminationGracePeriodSeconds"] > server.end_seconds
    readiness = find_container("headlines-serving")["readinessProbe"]
    assert server.drain_seconds >= readiness["periodSeconds"] * readiness["failureThreshold"]
    assert MANIFESTS["PodDisruptionBudget", "headlines-serving"]["spec"]["maxUnavailable"] == 1
    assert SCALED["minReplicaCount"] >= 2
    assert MANIFESTS["Deployment", "headlines-serving"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
