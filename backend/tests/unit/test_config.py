"""The settings: what an environment must say, and how a wrong one is told."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core import config
from app.core.config import ROOT, Settings, SettingsError
from app.core.config_rules import PUBLISHED_SECRETS
from tests.services import BACKEND

SECRET = "pX3v-9QdkWz7Lr2TgY8mB4nHcE6sJ1uA"  # 32 characters of no sample
SAFE = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://u:p@db/neoforge?sslmode=verify-full",
    "REDIS_URL": "rediss://redis:6379/0",
    "SECRET_KEY": SECRET,
    "PUBLIC_URL": "https://api.example.com",
    "SMTP_URL": "smtps://u:p@mail.example.com:465",
    "MAIL_FROM": "no-reply@example.com",
}
CONTRACT = {
    "ENVIRONMENT", "HOST", "PORT", "DATA_DIR", "DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "REDIS_PREFIX",
    "BROKER_URL", "SECRET_KEY", "SECRET_KEY_FILE", "PUBLIC_URL", "ALLOWED_ORIGINS", "ALLOWED_HOSTS", "TRUSTED_PROXIES",
    "SMTP_URL", "MAIL_FROM", "REQUIRE_VERIFIED_EMAIL", "PASSWORD_MIN_LENGTH", "METRICS_TOKEN", "LOG_LEVEL",
    "LOG_FORMAT",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of this process, no file of this machine."""
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(config, "SECRETS_FOLDER", tmp_path / "secrets")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Read the settings from this environment and no other."""

    def read(**env: str) -> Settings:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return Settings.load()

    return read


def fault(load, **env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**env)
    return str(caught.value)


def test_every_variable_of_the_contract_is_a_setting() -> None:
    assert {name.upper() for name in Settings.model_fields} >= CONTRACT


def test_every_setting_says_what_it_is() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_nothing_needs_to_be_set_for_development(load) -> None:
    settings = load()
    assert settings.environment == "development"
    assert settings.database_url == f"sqlite:///{settings.data_dir}/neoforge.db"
    assert settings.migration_database_url == settings.database_url
    assert (settings.host, settings.port, settings.public_url) == ("127.0.0.1", 8000, "http://127.0.0.1:8000")
    assert not settings.require_verified_email
    assert settings.serves_docs
    assert not settings.logs_json


def test_a_complete_production_environment_is_taken(load) -> None:
    settings = load(**SAFE)
    assert settings.is_production
    assert settings.require_verified_email
    assert not settings.serves_docs
    assert settings.logs_json


def test_an_empty_production_environment_is_told_at_once_by_name(load) -> None:
    told = fault(load, ENVIRONMENT="production")
    assert "\n" not in told
    for variable in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL", "SMTP_URL", "MAIL_FROM"):
        assert f" {variable} " in told, variable


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("DEBUG", "true", "refused in production"),
        ("DATABASE_URL", "sqlite:///x.db", "ALLOW_SQLITE_IN_PRODUCTION"),
        ("DATABASE_URL", "mysql://u:p@db/x", "must begin with"),
        ("MIGRATION_DATABASE_URL", "mysql://u:p@db/x", "must begin with"),
        ("REDIS_URL", "http://redis", "must begin with"),
        ("DATABASE_URL", "postgresql://u:p@db/x", "sslmode=verify-full"),
        ("DATABASE_URL", "postgresql://u:p@db/x?sslmode=require", "sslmode=verify-full"),
        ("DATABASE_URL", "postgresql://u:p@127.0.0.1,db/x", "PLAINTEXT_HOSTS"),
        ("DATABASE_URL", "postgresql://u:p@/x?host=db:5432", "PLAINTEXT_HOSTS"),
        ("DATABASE_URL", "postgresql://u:p@[fd00::1]:5432/x", "PLAINTEXT_HOSTS"),
        ("DATABASE_URL", "postgresql://u:p@[fd00/x", "not a URL"),
        ("MIGRATION_DATABASE_URL", "postgresql://o:p@db/x", "sslmode=verify-full"),
        ("REDIS_URL", "redis://redis", "rediss://"),
        ("REDIS_URL", "rediss://redis?ssl_cert_reqs=none", "certificate checked"),
        ("REDIS_URL", "rediss://redis?ssl_check_hostname=False", "certificate checked"),
        ("REDIS_URL", "redis+sentinel://u:p@10.0.0.1:1,10.0.0.2:1/m", "rediss://"),
        ("BROKER_URL", "redis://queue:6379/1", "rediss://"),
        ("PLAINTEXT_HOSTS", "*", "host names"),
        ("BREACH_CHECK_URL", "ranges.example.com", "http(s) URL"),
        ("BREACH_CHECK_URL", "https://u:p@ranges.example.com", "no query, fragment or user"),
        ("BREACH_CHECK_URL", "http://ranges.example.com/range", "must be https"),
        ("SECRET_KEY", "short-but-not-a-sample-31-bytes", "too short"),
        ("SECRET_KEY", "ab" * 32, "not random"),
        ("PUBLIC_URL", "http://api.example.com", "must be https"),
        ("PUBLIC_URL", "api.example.com", "must be an http(s) URL"),
        ("PUBLIC_URL", "https://api.example.com/?a=b", "no query"),
        ("PUBLIC_URL", "https://user@api.example.com", "no query, fragment or user"),
        ("SMTP_URL", "mail.example.com", "must begin with smtp"),
        ("MAIL_FROM", "no-reply@localhost", "needed in production"),
        ("MAIL_FROM", "nobody", "must be an email address"),
        ("ALLOWED_ORIGINS", "*", "never *"),
        ("ALLOWED_ORIGINS", "https://a.example/path", "exact origins"),
        ("ALLOWED_ORIGINS", "https://*.a.example", "exact origins"),
        ("ALLOWED_HOSTS", "*.example.com", "host names"),
        ("ALLOWED_HOSTS", "https://a.example", "host names"),
        ("TRUSTED_PROXIES", "everyone", "networks"),
        ("PASSWORD_MIN_LENGTH", "7", "8"),
        ("LOG_LEVEL", "chatty", "should be"),
        ("ENVIRONMENT", "staging", "should be"),
        ("PORT", "eighty", "integer"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_not_repeated(load, variable: str, value: str, why: str) -> None:
    told = fault(load, **{**SAFE, variable: value})
    assert f" {variable} " in told
    assert why in told
    assert len(value) < 6 or value not in told


@pytest.mark.parametrize("word", PUBLISHED_SECRETS)
def test_a_published_secret_is_refused_in_production_only(load, word: str) -> None:
    published = f"{word}-pX3v9QdkWz7Lr2TgY8mB4nHcE6"
    assert "published example" in fault(load, **{**SAFE, "SECRET_KEY": published})
    assert load(ENVIRONMENT="development", SECRET_KEY=published).secret_key == published


def test_all_wrong_values_are_told_in_one_line(load) -> None:
    told = fault(load, **{**SAFE, "DEBUG": "1", "SECRET_KEY": "tiny", "PUBLIC_URL": "ftp://x", "ALLOWED_ORIGINS": "*"})
    assert "\n" not in told
    for variable in ("DEBUG", "SECRET_KEY", "PUBLIC_URL", "ALLOWED_ORIGINS"):
        assert f" {variable} " in told


def test_a_wrong_environment_ends_a_process_with_one_line() -> None:
    env = {
        "ENVIRONMENT": "production",
        "SECRET_KEY": "tiny-but-telling",
        "PYTHONPATH": str(BACKEND),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "app.cli", "serve"]
    done = subprocess.run(command, env=env, cwd=BACKEND, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("neoforge: settings: ")
    assert "SECRET_KEY" in done.stderr
    assert "tiny-but-telling" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgresql://u:p@localhost:5432/x"),
        ("DATABASE_URL", "postgresql://u:p@127.8.8.8/x"),
        ("DATABASE_URL", "postgresql://u:p@[::1]/x"),
        ("DATABASE_URL", "postgresql://u:p@/x?host=/var/run/postgresql"),
        ("DATABASE_URL", "postgresql://u:p@Inside/x"),
        ("DATABASE_URL", "postgresql://u:p@db/x?sslmode=verify-full&sslrootcert=/ca.pem"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("REDIS_URL", "redis://:p@127.0.0.1:6379/0"),
        ("REDIS_URL", "redis://:p@inside:6379/0"),
        ("REDIS_URL", "rediss+sentinel://10.0.0.1:1,10.0.0.2:1/m?ssl_ca_certs=/ca.pem"),
        ("BROKER_URL", "rediss://queue:6379/1?ssl_cert_reqs=required"),
    ],
)
def test_production_speaks_in_clear_to_this_machine_and_to_named_hosts(load, variable: str, value: str) -> None:
    assert load(**{**SAFE, variable: value, "PLAINTEXT_HOSTS": "inside, other"}).is_production


def test_sqlite_in_production_needs_an_explicit_yes(load) -> None:
    assert load(**{**SAFE, "DATABASE_URL": "sqlite:////data/x.db", "ALLOW_SQLITE_IN_PRODUCTION": "true"}).is_production


def test_the_secret_may_stand_in_a_file(load, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert load(SECRET_KEY_FILE=str(file)).secret_key == SECRET
    assert "keep one" in fault(load, SECRET_KEY_FILE=str(file), SECRET_KEY=SECRET)


def test_a_secret_file_that_cannot_be_read_is_told(load, tmp_path: Path) -> None:
    assert "cannot be read from SECRET_KEY_FILE" in fault(load, SECRET_KEY_FILE=str(tmp_path / "none"))


def test_a_file_in_the_folder_of_secrets_stands_in_for_a_variable(load, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "database_url").write_text("postgresql://u:from-file@db/x\n")
    (folder / "smtp_url").write_text("smtp://from-file")
    settings = load(SMTP_URL="smtp://from-environment")
    assert settings.database_url == "postgresql://u:from-file@db/x"
    assert settings.smtp_url == "smtp://from-environment"


def test_a_secret_never_shows_in_a_representation(load) -> None:
    shown = repr(load(**SAFE))
    assert SECRET not in shown
    assert "mail.example.com" not in shown


def test_settings_do_not_change(load) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().port = 1


def test_lists_are_split_at_commas(load) -> None:
    settings = load(
        ALLOWED_ORIGINS="https://a.example, https://b.example:8443,",
        ALLOWED_HOSTS="A.example,[::1]",
        TRUSTED_PROXIES="10.1.2.3/8, ::1",
    )
    assert settings.origins[:3] == ("http://127.0.0.1:8000", "https://a.example", "https://b.example:8443")
    assert {"a.example", "::1"} <= settings.hosts
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1/128")
    assert [str(network) for network in settings.proxies] == ["10.0.0.0/8", "::1/128"]


def test_only_the_public_host_is_answered_in_production(load) -> None:
    assert load(**SAFE).hosts == {"api.example.com"}
    assert load(**SAFE).origins == ("https://api.example.com",)


def test_this_machines_names_are_answered_in_development(load) -> None:
    assert {"localhost", "127.0.0.1", "::1"} <= load(ENVIRONMENT="development").hosts


@pytest.mark.parametrize(("host", "url"), [("::1", "http://[::1]:81"), ("localhost", "http://localhost:81")])
def test_the_public_url_follows_host_and_port(load, host: str, url: str) -> None:
    assert load(HOST=host, PORT="81").public_url == url


def test_the_public_url_loses_its_last_slash(load) -> None:
    assert load(PUBLIC_URL="https://api.example.com/").public_url == "https://api.example.com"


def test_celery_gets_no_cluster(load) -> None:
    cluster = "redis+cluster://redis:6379"
    assert " BROKER_URL " in fault(load, REDIS_URL=cluster)
    assert " BROKER_URL " in fault(load, REDIS_URL="redis://r", BROKER_URL=cluster)
    assert load(REDIS_URL=cluster, BROKER_URL="redis://other").redis_url == cluster


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_driver_is_ours_to_choose(load, scheme: str) -> None:
    assert load(DATABASE_URL=f"{scheme}://u:p@db/x").database_url == "postgresql://u:p@db/x"


def test_verified_addresses_are_needed_in_production_unless_denied(load) -> None:
    assert not load(**SAFE, REQUIRE_VERIFIED_EMAIL="false").require_verified_email


def test_a_dotenv_beside_the_makefile_is_read_outside_tests(load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8123\nHOST=localhost\n")
    settings = load(HOST="127.0.0.2")
    assert (settings.host, settings.port) == ("127.0.0.2", 8123)
    assert load(ENVIRONMENT="test").port == 8000


def test_the_root_is_the_backends_parent() -> None:
    assert BACKEND.parent == ROOT


def test_an_empty_variable_is_an_unset_one(load) -> None:
    assert load(PORT="", LOG_LEVEL="").port == 8000


def test_embedded_parts_are_found_by_the_file_that_the_supervisor_keeps(load, tmp_path: Path) -> None:
    settings = load(DATA_DIR=str(tmp_path))
    assert settings.embedded("redis_url") == ""
    (tmp_path / "stack.json").write_text('{"redis_url": "redis://127.0.0.1:1"}')
    assert settings.embedded("redis_url") == "redis://127.0.0.1:1"
    assert settings.embedded("smtp_url") == ""
    (tmp_path / "stack.json").write_text("{")
    assert settings.embedded("redis_url") == ""


@pytest.mark.parametrize(("port", "local"), [("8123", "http://{}:8123"), ("80", "http://{}")])
def test_in_development_pages_of_this_machine_may_call(load, port: str, local: str) -> None:
    found = load(PORT=port, PUBLIC_URL="https://dev.example.com", ALLOWED_ORIGINS="https://app.example.com").origins
    assert found[:2] == ("https://dev.example.com", "https://app.example.com")
    assert found[2:] == tuple(local.format(host) for host in ("localhost", "127.0.0.1", "[::1]"))
