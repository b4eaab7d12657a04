"""deploy/kubernetes: what the API says of it, and what one file says of another."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from support.deployed import DEPLOY, documents, faults
from workd import settings
from workd.broker import keys, rights
from workd.health import Report
from workd.webapp import make_app

FOLDER = DEPLOY / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
ALL = [(path.name, document) for path in FILES for document in documents(path)]

# Kinds that Kubernetes itself does not know: their fields, from the documentation of KEDA 2.16 and of the Prometheus
# operator. Of those with dots, all before the dot have to be in the table, too.
KEDA_SCALED_OBJECT = {
    *("scaleTargetRef", "scaleTargetRef.name", "scaleTargetRef.kind", "scaleTargetRef.apiVersion"),
    *("minReplicaCount", "maxReplicaCount", "idleReplicaCount", "pollingInterval", "cooldownPeriod", "fallback"),
    *("initialCooldownPeriod", "advanced", "advanced.horizontalPodAutoscalerConfig", "triggers"),
    *("advanced.restoreToOriginalReplicaCount", "advanced.horizontalPodAutoscalerConfig.behavior"),
}
KEDA_TRIGGER = {"type", "name", "metadata", "authenticationRef", "metricType", "useCachedMetrics"}
KEDA_METADATA = {  # type of trigger: (needs all of these, may have these besides)
    "redis-streams": (
        {"address", "stream", "streamLength"},
        {"consumerGroup", "lagCount", "activationLagCount", "pendingEntriesCount", "databaseIndex", "enableTLS"},
    ),
    "redis": ({"address", "listName", "listLength"}, {"activationListLength", "databaseIndex", "enableTLS"}),
    "cron": ({"timezone", "start", "end", "desiredReplicas"}, set()),
}


def only(kind: str, file: str = "workd.yaml") -> dict[str, Any]:
    [found] = [document for name, document in ALL if name == file and document["kind"] == kind]
    return found


def paths(value: Any, before: str = "") -> set[str]:
    if not isinstance(value, dict):
        return set()
    return {path for key, item in value.items() for path in ({before + key} | paths(item, f"{before}{key}."))}


@pytest.mark.parametrize(
    ("file", "document"), ALL, ids=lambda value: value if isinstance(value, str) else value["kind"]
)
def test_the_api_knows_every_field(file: str, document: dict[str, Any]) -> None:
    if document["apiVersion"].partition("/")[0] in ("keda.sh", "monitoring.coreos.com", "kustomize.config.k8s.io"):
        return  # below
    assert faults(document, "kubernetes.json", document["kind"]) == []
    assert document["metadata"]["labels"] == {"app.kubernetes.io/name": "workd"}


def test_a_field_that_the_api_does_not_know_is_found() -> None:
    wrong = only("Deployment")
    wrong = {**wrong, "spec": {**wrong["spec"], "terminationGracePeriodSeconds": 90}}
    assert any("terminationGracePeriodSeconds" in fault for fault in faults(wrong, "kubernetes.json", "Deployment"))


def test_the_list_of_resources_names_files_that_are_there() -> None:
    kustomization = only("Kustomization", "kustomization.yaml")
    commented = re.findall(r"^  #- (\S+)$", (FOLDER / "kustomization.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    names = {path.name for path in FILES}
    assert {*kustomization["resources"], *commented} == names - {"kustomization.yaml", "keda-zero.yaml"}
    [image] = kustomization["images"]
    assert container()["image"].startswith(f"{image['name']}:")


# ── the Deployment ──────────────────────────────────────────────────────────────────────────────────────────────────


def pod() -> dict[str, Any]:
    found: dict[str, Any] = only("Deployment")["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    [found] = pod()["containers"]
    assert isinstance(found, dict)
    return found


def config() -> settings.Settings:
    return settings.Settings(**tomllib.loads(only("ConfigMap")["data"]["workd.toml"]))


def test_the_settings_are_settings_and_what_they_say_goes_with_the_pod() -> None:
    chosen = config()
    assert pod()["terminationGracePeriodSeconds"] > chosen.drain_s + settings.Settings().cancel_grace_s
    host, _, port = chosen.http.rpartition(":")
    assert host == "0.0.0.0", "the kubelet comes from outside of the pod"
    assert [int(port)] == [one["containerPort"] for one in container()["ports"]]
    assert only("Deployment")["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == port


def test_probes_ask_what_there_is_and_only_the_one_for_readiness_depends_on_redis() -> None:
    class State:
        def live(self) -> Report:
            return Report(ok=True)

        def ready(self) -> Report:
            return Report(ok=True)

        def __getattr__(self, name: str) -> Any:  # whatever else the application is made of
            return lambda *_: Report(ok=True)

    routes = {getattr(route, "path", "") for route in make_app(State()).routes}
    asked = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["path"] for probe in asked.values()} <= routes
    assert asked["startup"]["path"] == asked["liveness"]["path"] == "/livez"
    assert asked["readiness"]["path"] == "/readyz"
    names = {port["name"] for port in container()["ports"]}
    assert {probe["port"] for probe in asked.values()} <= names
    startup = container()["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= settings.Settings().boot_timeout_s


def test_the_pod_may_do_nothing_that_it_needs_not() -> None:
    own, of_pod = container()["securityContext"], pod()["securityContext"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert of_pod["runAsNonRoot"] is True
    assert of_pod["runAsUser"] == 10001
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False


def test_the_secret_comes_as_a_file_that_the_daemon_reads() -> None:
    [directory] = [one["value"] for one in container()["env"] if one["name"] == "CREDENTIALS_DIRECTORY"]
    [mount] = [one for one in container()["volumeMounts"] if one["name"] == "secrets"]
    assert mount["mountPath"] == directory
    assert set(only("Secret")["stringData"]) <= settings.SECRETS
    [volume] = [one for one in pod()["volumes"] if one["name"] == "secrets"]
    assert volume["secret"]["secretName"] == only("Secret")["metadata"]["name"]
    assert "workd-daemon:" in only("Secret")["stringData"]["redis_url"]


def test_the_limit_is_a_whole_number_of_cores_since_it_is_the_number_of_workers() -> None:
    assert int(container()["resources"]["limits"]["cpu"]) >= 1


def test_every_selector_finds_the_pods() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        only("Deployment")["spec"]["selector"],
        only("PodDisruptionBudget")["spec"]["selector"],
        only("NetworkPolicy")["spec"]["podSelector"],
        only("PodMonitor", "monitoring.yaml")["spec"]["selector"],
        pod()["topologySpreadConstraints"][0]["labelSelector"],
    ]
    assert all(selector == {"matchLabels": labels} for selector in selectors)


def test_a_rollout_takes_no_daemon_away_before_another_is_ready() -> None:
    strategy = only("Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert "replicas" not in only("Deployment")["spec"]


# ── autoscaling and metrics ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ["keda.yaml", "keda-zero.yaml"])
def test_keda_knows_every_field_and_scales_what_is_there(file: str) -> None:
    scaled = only("ScaledObject", file)
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    known = {path for path in paths(spec) if not path.startswith("advanced.horizontalPodAutoscalerConfig.behavior.")}
    assert known <= KEDA_SCALED_OBJECT
    assert spec["scaleTargetRef"]["name"] == only("Deployment")["metadata"]["name"]
    assert spec["minReplicaCount"] == (0 if file == "keda-zero.yaml" else 1)
    authentication = only("TriggerAuthentication", "keda-auth.yaml")["metadata"]["name"]
    for trigger in spec["triggers"]:
        assert set(trigger) <= KEDA_TRIGGER
        needed, allowed = KEDA_METADATA[trigger["type"]]
        assert needed <= set(trigger["metadata"]) <= needed | allowed
        assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes text alone"
        if trigger["type"] != "cron":
            assert trigger["authenticationRef"] == {"name": authentication}
    names = [trigger["name"] for trigger in spec["triggers"]]
    assert len(names) == len(set(names))


def test_without_a_daemon_all_that_waits_for_one_is_looked_at() -> None:
    places = {
        trigger["metadata"].get("stream") or trigger["metadata"].get("listName")
        for trigger in only("ScaledObject", "keda-zero.yaml")["spec"]["triggers"]
    }
    assert places >= {keys.stream("default"), keys.inbox("default"), keys.scheduled("default")}


def test_pods_are_not_taken_away_from_jobs_that_run() -> None:
    """The lag counts what waits; the stream's length, asked for without a group, what runs, too."""
    for file in ("keda.yaml", "keda-zero.yaml"):
        [jobs] = [one for one in only("ScaledObject", file)["spec"]["triggers"] if one["name"] == "jobs"]
        assert jobs["metadata"]["stream"] == keys.stream("default")
        assert "consumerGroup" not in jobs["metadata"]


def test_keda_signs_in_as_who_may_look() -> None:
    [secret] = [document for name, document in ALL if name == "keda-auth.yaml" and document["kind"] == "Secret"]
    targets = only("TriggerAuthentication", "keda-auth.yaml")["spec"]["secretTargetRef"]
    assert {target["parameter"] for target in targets} == {"username", "password"}
    assert all(set(target) == {"parameter", "name", "key"} for target in targets)
    assert {target["name"] for target in targets} == {secret["metadata"]["name"]}
    assert {target["key"] for target in targets} == set(secret["stringData"])
    assert secret["stringData"]["username"] == "workd-viewer"
    assert "viewer" in rights.COMMANDS


def test_the_pod_monitor_scrapes_the_port_that_there_is_under_the_name_that_alerts_ask_for() -> None:
    monitor = only("PodMonitor", "monitoring.yaml")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert paths(monitor["spec"]) <= {
        *("jobLabel", "selector", "selector.matchLabels", "selector.matchLabels.app.kubernetes.io/name"),
        "podMetricsEndpoints",
    }
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert set(endpoint) <= {"port", "path", "interval", "scrapeTimeout"}
    assert endpoint["port"] in {port["name"] for port in container()["ports"]}
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels[monitor["spec"]["jobLabel"]] == "workd"
