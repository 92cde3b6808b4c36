#!/bin/sh
# The stages of the pipeline, as they are run by any CI: sh pipeline.sh STAGE [ENVIRONMENT]
# Written by trtbuild deploy; settings are the variables of the CI file.
set -eu

install() {
    python3 -m pip install --quiet "trtbuild==$TRTBUILD_VERSION"
}

# The repository loads, the files are those of this repository, and no rule objects.
validate() {
    code=0
    trtbuild validate "$REPOSITORY" --format sarif > trtbuild.sarif || code=$?
    trtbuild validate "$REPOSITORY" --format junit > trtbuild.xml || code=$?
    trtbuild deploy diff "$REPOSITORY" -o . -f "$SETTINGS" --check
    trtbuild deploy check "$FOLDER"
    return "$code"
}

# GitHub shows the findings at their lines.
report() {
    python3 -c 'import base64, gzip, json, os
text = gzip.compress(open("trtbuild.sarif", "rb").read())
print(json.dumps({"commit_sha": os.environ["GITHUB_SHA"], "ref": os.environ["GITHUB_REF"],
                  "sarif": base64.b64encode(text).decode()}))' |
        gh api --method POST "repos/$GITHUB_REPOSITORY/code-scanning/sarifs" --input -
}

# The models run on a CPU before anything is pushed.
rehearse() {
    trtbuild runtime install
    trap 'trtbuild stop --all' EXIT
    if [ "$STAND_INS" = true ]; then
        trtbuild serve "$REPOSITORY" --mode embedded --rehearse --detach --port 8000
    else
        trtbuild serve "$REPOSITORY" --mode embedded --detach --port 8000
    fi
    ask --url 127.0.0.1:8000
}

ask() {
    if [ -n "$GOLDEN" ]; then
        trtbuild deploy verify "$REPOSITORY" "$@" --golden "$GOLDEN"
    else
        trtbuild deploy verify "$REPOSITORY" "$@"
    fi
}

# The repository becomes an image. Every environment gets the same files, which name its digest.
push() {
    printf '%s' "$REGISTRY_PASSWORD" |
        docker login --username "$REGISTRY_USER" --password-stdin "${REFERENCE%%/*}"
    docker buildx build --push --tag "$REFERENCE" --file "$FOLDER/Dockerfile" \
        --metadata-file metadata.json "$REPOSITORY"
    digest=$(python3 -c 'import json
print(json.load(open("metadata.json"))["containerimage.digest"])')
    rm -rf release
    cp -R "$FOLDER" release
    find release -name '*.yaml' -not -path 'release/chart/*' \
        -exec sed -i "s|$REFERENCE|${REFERENCE%:*}@$digest|g" {} +
}

# The Rollout asks the gate, moves requests step by step, and goes back by itself.
deploy() {
    cluster
    label="commit=$(commit)"
    helm upgrade --install "$NAME" release/chart -f release/values.yaml \
        -f "release/values-$1.yaml" --namespace "$NAME-$1" --create-namespace \
        --labels "$label"
    kubectl apply --namespace "$NAME-$1" -f "release/$1/rollout.yaml"
    generation=$(kubectl get "deployment/$NAME" --namespace "$NAME-$1" \
        -o 'jsonpath={.metadata.generation}')
    # Healthy is also what the version before it was.
    for state in "workloadObservedGeneration=$generation" phase=Healthy; do
        kubectl wait "rollout/$NAME" --namespace "$NAME-$1" --timeout="${TIMEOUT}s" \
            --for="jsonpath={.status.${state%%=*}}=${state#*=}"
    done
}

# What is deployed answers as recorded, as fast as it must, and no slower than the last release.
verify() {
    cluster
    kubectl port-forward --namespace "$NAME-$1" "service/$SERVICE" 8000 9000 &
    forward=$!
    trap 'kill "$forward" 2> /dev/null || true' EXIT
    python3 -c 'import socket, time
until = time.monotonic() + 60
while True:
    try:
        socket.create_connection(("127.0.0.1", 8000), 2).close()
        break
    except OSError:
        if time.monotonic() > until:
            raise SystemExit("the port is not forwarded")
        time.sleep(0.5)'
    ask --url 127.0.0.1:8000 --gateway http://127.0.0.1:9000
    shift
    if [ -n "${TRTBUILD_API_KEY:-}" ]; then
        set -- --api-key-env TRTBUILD_API_KEY
    fi
    if [ -f "$FOLDER/recorded.jsonl" ]; then
        trtbuild eval golden check "$FOLDER/recorded.jsonl" --target "$TARGET" \
            --junit golden.xml "$@"
    fi
    trtbuild bench run "$TARGET" --slo "$SLO" --min-in-slo "$SHARE" --rate "$RATE" \
        --requests "$REQUESTS" --out bench.json "$@"
    if [ -f "$FOLDER/baseline.json" ]; then
        trtbuild bench compare "$FOLDER/baseline.json" bench.json
    fi
}

# A job that failed before its upgrade leaves the release before it, which is good.
rollback() {
    cluster
    label="commit=$(commit)"
    found=$(helm list --deployed --failed --pending --short --namespace "$NAME-$1" \
        --filter "^$NAME\$" --selector "$label")
    if [ -z "$found" ]; then
        echo "this pipeline deployed nothing to $1: nothing to roll back"
        return
    fi
    helm rollback "$NAME" --namespace "$NAME-$1" --wait
}

# As GitHub, GitLab or Jenkins names it.
commit() {
    echo "${GITHUB_SHA:-${CI_COMMIT_SHA:-${GIT_COMMIT:?the commit of this pipeline}}}"
}

# The secret has a kubeconfig's text, which only this user may read.
cluster() {
    umask 077
    KUBECONFIG=$(mktemp)
    export KUBECONFIG
    printf '%s' "$KUBECONFIG_TEXT" > "$KUBECONFIG"
}

case "${1:-}" in
    install | validate | report | rehearse | push) "$1" ;;
    deploy | verify | rollback) "$1" "${2:?an environment}" ;;
    *)
        echo "pipeline.sh: no stage '${1:-}'; see the functions in it" >&2
        exit 2
        ;;
esac
