#!/bin/sh
# Build the images and run in them what the guide runs in containers. Needs docker or podman; ends with 1 where neither answers.
# CONTAINER_TOOL picks one; BUILD_OPTIONS and RUN_OPTIONS are added to its `build` and `run`.
set -eu
cd "$(dirname "$0")/.."

tool=${CONTAINER_TOOL:-}
for candidate in docker podman; do
    [ -z "$tool" ] && "$candidate" info >/dev/null 2>&1 && tool=$candidate
done
if [ -z "$tool" ] || ! "$tool" info >/dev/null 2>&1; then
    echo "image-test: no container tool answers: start Docker, or install podman, or name one in CONTAINER_TOOL" >&2
    exit 1
fi

test_image=neoforge-test:image-test image=neoforge:image-test name=neoforge-image-test-$$
format=
[ "$tool" = podman ] && format="--format docker" # the other format has no HEALTHCHECK
trap '"$tool" rm -f "$name" >/dev/null 2>&1 || true' EXIT
say() { echo "--- image-test: $*"; }

# shellcheck disable=SC2086 # the options are lists of words
build() { "$tool" build $format ${BUILD_OPTIONS:-} --target "$1" --tag "$2" backend; }
# shellcheck disable=SC2086 # as above
run() { "$tool" run --rm ${RUN_OPTIONS:-} "$@"; }

say "building with $tool"
build test "$test_image"
build runtime "$image"

say "the user and the place"
run "$test_image" sh -c 'test "$(id -u)" != 0 && test "$PWD" = /app/backend && python -c "import app" && neoforge --version'
run "$image" sh -c 'test "$(id -u)" = 10001 && ! test -w . && ! test -e tests && neoforge --version'

say "alembic, three ways"
run "$test_image" sh -ec 'alembic upgrade head && alembic downgrade -1 && alembic upgrade head && alembic check
    before=$(ls alembic/versions | wc -l) && alembic revision --autogenerate -m "image test"
    test "$(ls alembic/versions | wc -l)" -gt "$before"'

say "pytest: one test, with coverage, and on PostgreSQL"
run "$test_image" pytest -q tests/api/test_auth.py::test_login
run "$test_image" sh -ec 'pytest -q --cov --cov-report=html tests/unit/test_config.py && test -s htmlcov/index.html'
run --env NEOFORGE_TEST_STACK=server "$test_image" pytest -q tests/integration/test_main_job.py

say "production refuses what is unsafe, in one line"
if said=$(run "$image" 2>&1); then
    echo "image-test: the production image started without settings" >&2
    exit 1
fi
echo "$said" | grep -q '^neoforge: settings: .*SECRET_KEY.*PUBLIC_URL' || { echo "$said" >&2; exit 1; }

say "production serves, read-only and without capabilities, and its health check passes"
# shellcheck disable=SC2086 # as above
"$tool" run --detach --name "$name" ${RUN_OPTIONS:-} --read-only --cap-drop ALL --security-opt no-new-privileges \
    --tmpfs /tmp:mode=1777 \
    --env SECRET_KEY="$(head -c 36 /dev/urandom | base64)" --env PUBLIC_URL=https://api.example.com \
    --env ALLOW_SQLITE_IN_PRODUCTION=true --env DATABASE_URL=sqlite:////tmp/test.db \
    --env REDIS_URL=redis://127.0.0.1:1 --env SMTP_URL=smtp://127.0.0.1:1 --env MAIL_FROM=no-reply@example.com \
    --env PORT="${IMAGE_TEST_PORT:-8000}" "$image" sh -c 'neoforge db upgrade && exec neoforge serve --workers 2' >/dev/null
tries=0
until "$tool" exec "$name" python -m app.tools.healthcheck 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -ge 30 ] || [ "$("$tool" inspect --format '{{.State.Running}}' "$name")" != true ]; then
        "$tool" logs "$name" >&2
        echo "image-test: the production image does not get healthy" >&2
        exit 1
    fi
    sleep 1
done
"$tool" inspect --format '{{json .Config.Healthcheck}}' "$name" | grep -q app.tools.healthcheck
"$tool" stop --time 30 "$name" >/dev/null
test "$("$tool" inspect --format '{{.State.ExitCode}}' "$name")" = 0 || { echo "image-test: SIGTERM did not end it cleanly" >&2; exit 1; }
say "passed"
